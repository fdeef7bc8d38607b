"""What an artist's marks look like: texture statistics that need no trained weights.

Flows in: Lab planes of images. Flows out: five feature blocks of histograms and correlations over positions,
so that what is where in the picture matters little. Never seen here: who made an artwork.

Everything is computed on a pyramid of means over 2 x 2 pixels: at its finest level grain and brushmarks, at
its coarsest the size of strokes and shapes. The filters are quadrature Gabor pairs; how their energies go
together is the idea of Portilla and Simoncelli (2000), and filtering the energies once more that of the
scattering transform (Bruna and Mallat 2013). Local binary patterns follow Ojala, Pietikäinen and Mäenpää
(2002), split by sign and with a tolerance, so that flat paint counts as flat.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fedstyle_secure.style.features import FeatureBlock

__all__ = ["TEXTURE_FEATURE_BLOCKS", "texture_features"]

_LEVELS = 4
_ORIENTATIONS = 6
_KERNEL_PX, _WAVELENGTH_PX, _ENVELOPE_PX = 7, 4.0, 1.7
_HISTOGRAM_LEVELS = 3
_HISTOGRAM_BINS = 8
_PATTERN_CODES = 10
_JUST_VISIBLE = 1.0
"""Lab difference that counts as a difference: about what an eye can just see."""
_ENERGY_FLOOR = 0.1
_CORRELATION_FLOOR = 0.3
_WINDOWS_PX = (4, 8, 16)

_MAPS = _ORIENTATIONS + 2
_PAIRS_OF_LEVELS = (_LEVELS - 1) * _LEVELS // 2

TEXTURE_FEATURE_BLOCKS = (
    FeatureBlock("local-binary-patterns", _HISTOGRAM_LEVELS * 2 * _PATTERN_CODES),
    FeatureBlock("gradient-strength", _HISTOGRAM_LEVELS * 2 * _HISTOGRAM_BINS),
    FeatureBlock("local-contrast", len(_WINDOWS_PX) * 2 * _HISTOGRAM_BINS),
    FeatureBlock("filter-correlations", _LEVELS * _MAPS * (_MAPS - 1) // 2),
    FeatureBlock("filter-modulation", _PAIRS_OF_LEVELS * _ORIENTATIONS**2),
)

# Neighbours of a pixel in the order of a walk around it.
_NEIGHBOURS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def texture_features(lab: Float[Tensor, "artworks 3 height width"]) -> dict[str, Float[Tensor, "artworks _"]]:
    """Texture statistics of images in CIE Lab.

    Args:
        lab: planes L, a and b, single precision, at least 32 px a side.

    Returns:
        The blocks of ``TEXTURE_FEATURE_BLOCKS``.
    """
    pyramid = [lab]
    for _ in range(_LEVELS - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    filters = _gabor_pairs()
    energies = [_filter_energies(plane, filters) for plane in pyramid]
    fine = pyramid[:_HISTOGRAM_LEVELS]
    return {
        "local-binary-patterns": torch.cat([_binary_patterns(level[:, 0]) for level in fine], dim=1),
        "gradient-strength": torch.cat([_gradient_strength(level) for level in fine], dim=1),
        "local-contrast": torch.cat([_local_contrast(lab, window_px=w) for w in _WINDOWS_PX], dim=1),
        "filter-correlations": torch.cat([_correlations(level) for level in energies], dim=1),
        "filter-modulation": _modulation(energies, filters),
    }


def _gabor_pairs() -> Float[Tensor, "filters 1 kernel kernel"]:
    """Even filters of all orientations, then odd ones; unit norm, and no response to flat paint."""
    reach = torch.arange(_KERNEL_PX, dtype=torch.float64) - _KERNEL_PX // 2
    y, x = torch.meshgrid(reach, reach, indexing="ij")
    envelope = torch.exp(-(x**2 + y**2) / (2 * _ENVELOPE_PX**2))
    filters = []
    for phase in (0.0, math.pi / 2):
        for k in range(_ORIENTATIONS):
            angle = math.pi * k / _ORIENTATIONS
            along = x * math.cos(angle) + y * math.sin(angle)
            wave = envelope * torch.cos(2 * math.pi * along / _WAVELENGTH_PX - phase)
            wave = wave - envelope * wave.sum() / envelope.sum()
            filters.append(wave / wave.norm())
    return torch.stack(filters)[:, None].float()


def _filter_energies(planes: Tensor, filters: Tensor) -> Tensor:
    """Magnitude of quadrature pairs: (artworks, planes, h, w) to (artworks, planes, orientations, h, w)."""
    artworks, count, height, width = planes.shape
    padded = F.pad(planes.reshape(-1, 1, height, width), (_KERNEL_PX // 2,) * 4, mode="reflect")
    response = F.conv2d(padded, filters)
    energy = (response[:, :_ORIENTATIONS] ** 2 + response[:, _ORIENTATIONS:] ** 2).sqrt()
    return energy.reshape(artworks, count, _ORIENTATIONS, height, width)


def _correlations(energy: Tensor) -> Tensor:
    """How the energies of L's orientations, of a and of b go together over positions at one level."""
    maps = torch.cat([energy[:, 0], energy[:, 1:].mean(dim=2)], dim=1).flatten(2)
    maps = maps - maps.mean(dim=2, keepdim=True)
    covariance = maps @ maps.transpose(1, 2) / maps.shape[2]
    spread = torch.diagonal(covariance, dim1=1, dim2=2).clamp_min(0).sqrt() + _CORRELATION_FLOOR
    correlation = covariance / (spread[:, :, None] * spread[:, None, :])
    row, column = torch.triu_indices(_MAPS, _MAPS, offset=1)
    return correlation[:, row, column]


def _modulation(energies: list[Tensor], filters: Tensor) -> Tensor:
    """How much L's energies vary in turn, by orientation, at every coarser level; log ratios."""
    columns = []
    for level in range(_LEVELS - 1):
        plane = energies[level][:, 0]
        mean = plane.mean(dim=(2, 3))
        for _ in range(_LEVELS - 1 - level):
            plane = F.avg_pool2d(plane, 2)
            again = _filter_energies(plane, filters).mean(dim=(3, 4))
            columns.append(torch.log((again + _ENERGY_FLOOR) / (mean[:, :, None] + _ENERGY_FLOOR)).flatten(1))
    return torch.cat(columns, dim=1)


def _binary_patterns(lightness: Tensor) -> Tensor:
    """Root shares of rotation-invariant uniform patterns of lighter, then of darker, neighbours."""
    height, width = lightness.shape[1:]
    centre = lightness[:, 1:-1, 1:-1]
    around = [lightness[:, 1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx] for dy, dx in _NEIGHBOURS]
    difference = torch.stack(around, dim=1) - centre[:, None]
    shares = []
    for set_bits in (difference > _JUST_VISIBLE, difference < -_JUST_VISIBLE):
        changes = (set_bits != torch.roll(set_bits, 1, dims=1)).sum(dim=1)
        code = torch.where(changes <= 2, set_bits.sum(dim=1), _PATTERN_CODES - 1)
        shares.append(_root_shares(code, bins=_PATTERN_CODES))
    return torch.cat(shares, dim=1)


def _gradient_strength(lab: Tensor) -> Tensor:
    """Root shares of octaves of gradient strength, of L and of the stronger of a and b."""
    across = lab[..., 1:-1, 2:] - lab[..., 1:-1, :-2]
    down = lab[..., 2:, 1:-1] - lab[..., :-2, 1:-1]
    strength = (across**2 + down**2).sqrt() / 2
    return torch.cat([_octave_shares(strength[:, 0]), _octave_shares(strength[:, 1:].amax(dim=1))], dim=1)


def _local_contrast(lab: Tensor, *, window_px: int) -> Tensor:
    """Root shares of octaves of the standard deviation within windows, of L and of chroma."""
    mean = F.avg_pool2d(lab, window_px)
    deviation = (F.avg_pool2d(lab**2, window_px) - mean**2).clamp_min(0).sqrt()
    chroma = (deviation[:, 1] * deviation[:, 2]).sqrt()
    return torch.cat([_octave_shares(deviation[:, 0]), _octave_shares(chroma)], dim=1)


def _octave_shares(strength: Tensor) -> Tensor:
    """Histogram over octaves of Lab units: (artworks, h, w) to (artworks, bins) root shares; 0 is flat."""
    octave = torch.log2(strength + 0.25) + 2
    return _root_shares(octave.clamp(0, _HISTOGRAM_BINS - 0.01).long(), bins=_HISTOGRAM_BINS)


def _root_shares(code: Tensor, *, bins: int) -> Tensor:
    """Square roots of the share of positions with each code: (artworks, h, w) to (artworks, bins)."""
    return F.one_hot(code, bins).float().mean(dim=(1, 2)).sqrt()
