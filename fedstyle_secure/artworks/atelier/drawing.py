"""Pen and burin: outlines, scratchy contours and hatching.

Flows in: a picture, its scene and a painter's line. Flows out: the picture with lines. Lengths are in 128ths
of the side. Never seen here: real artworks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int32
from PIL import Image
from scipy.ndimage import gaussian_filter

from fedstyle_secure.artworks.atelier.colour import Lab, lab_to_rgb
from fedstyle_secure.artworks.atelier.noise import cloud, grid, resized

__all__ = ["Hatching", "Outline", "draw_hatching", "draw_outline"]


@dataclass(frozen=True)
class Outline:
    """How a painter outlines things.

    Args:
        width: width of the line, 128ths of the side.
        colour: Lab colour of the line.
        uneven: how much the pressure varies, 0 is a technical pen.
        wander: how far the line strays from the edge, 128ths of the side.
        passes: how often the contour is drawn; more than once looks searching.
    """

    width: float
    colour: Lab
    uneven: float
    wander: float
    passes: int


@dataclass(frozen=True)
class Hatching:
    """How a painter shades with lines.

    Args:
        spacing: distance of lines, 128ths of the side.
        angle_radians: direction of the first layer.
        layers: 1 hatches, 2 and 3 cross-hatch in the darks.
        weight: width of lines at the darkest, share of the spacing.
        wobble: how much lines wave.
        colour: Lab colour of the lines.
        light_on_dark: everything is inked but the lines, which are cut out and widest in the light, as in a
            woodcut.
    """

    spacing: float
    angle_radians: float
    layers: int
    weight: float
    wobble: float
    colour: Lab
    light_on_dark: bool


def _over(
    picture: Float32[np.ndarray, "side side 3"], cover: Float32[np.ndarray, "side side"], colour: Lab
) -> Float32[np.ndarray, "side side 3"]:
    ink = lab_to_rgb(np.array(colour))
    amount = np.clip(cover, 0, 1)[..., None].astype(np.float32)
    return np.asarray(picture * (1 - amount) + amount * ink, dtype=np.float32)


def draw_outline(
    picture: Float32[np.ndarray, "side side 3"],
    regions: Int32[np.ndarray, "tall wide"],
    outline: Outline,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "side side 3"]:
    """Draw along the edges of a scene's regions.

    Args:
        picture: sRGB 0..255.
        regions: the scene's regions at twice the picture's size.
        outline: the painter's line.
        rng: the work's stream for lines.

    Returns:
        The picture with its outlines.
    """
    side, large = picture.shape[0], regions.shape[0]
    unit = large / 128
    edge = np.zeros(regions.shape, dtype=bool)
    edge[1:] |= regions[1:] != regions[:-1]
    edge[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    width = outline.width * float(np.exp(0.1 * rng.standard_normal())) * unit
    spread = gaussian_filter(edge.astype(np.float32), max(0.45 * width, 0.5))
    line = np.clip(spread * max(width, 1.0) * 1.9 - 0.25, 0, 1)
    cover = np.zeros((side, side), dtype=np.float32)
    for number in range(outline.passes):
        shifted = _strayed(line, outline.wander * unit * (1 + 0.7 * number), rng) if outline.wander else line
        cover = np.maximum(cover, resized(shifted, side, how=Image.Resampling.BOX))
    cover = np.clip(cover * 1.25, 0, 1)
    if outline.uneven:
        cover = cover * np.clip(0.9 + outline.uneven * cloud(rng, 10.0, side, octaves=2), 0.0, 1.0)
    return _over(picture, cover, outline.colour)


def _strayed(
    line: Float32[np.ndarray, "tall wide"], distance_px: float, rng: np.random.Generator
) -> Float32[np.ndarray, "tall wide"]:
    large = line.shape[0]
    rows, columns = np.arange(large)[:, None], np.arange(large)[None, :]
    down = np.rint(rows + distance_px * cloud(rng, 6.0, large, octaves=2)).astype(np.intp)
    across = np.rint(columns + distance_px * cloud(rng, 6.0, large, octaves=2)).astype(np.intp)
    strayed: Float32[np.ndarray, "tall wide"] = line[
        np.clip(down, 0, large - 1), np.clip(across, 0, large - 1)
    ]
    return strayed


def _stretched(lightness: Float32[np.ndarray, "side side"]) -> Float[np.ndarray, "side side"]:
    low, high = np.percentile(lightness, (3, 97))
    share: Float[np.ndarray, "side side"] = np.clip((lightness - low) / (high - low + 5), 0, 1)
    return share


def draw_hatching(
    picture: Float32[np.ndarray, "side side 3"],
    lightness: Float32[np.ndarray, "side side"],
    hatching: Hatching,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "side side 3"]:
    """Shade a picture with lines, denser and thicker where it is dark.

    Args:
        picture: sRGB 0..255.
        lightness: CIE lightness to shade by, 0..100.
        hatching: the painter's way.
        rng: the work's stream for hatching.

    Returns:
        The picture with its lines.
    """
    side = picture.shape[0]
    rows, columns = grid(side)
    # Where lines are cut out, they must be wide in the light instead of the dark.
    dark = _stretched(lightness) if hatching.light_on_dark else np.clip(1 - lightness / 100, 0, 1)
    wave = hatching.wobble * cloud(rng, 6.0, side, octaves=2)
    spacing_px = hatching.spacing * side / 128
    cover = np.zeros((side, side), dtype=np.float32)
    for layer in range(hatching.layers):
        angle = hatching.angle_radians + layer * np.pi / 2.6
        phase = (columns * np.cos(angle) + rows * np.sin(angle)) * side / spacing_px + wave
        across = np.abs(phase % 1 - 0.5) * 2
        strength = np.clip((dark - 0.1 - 0.2 * layer) * 2.6, 0, 1) * hatching.weight * 1.8
        drawn = np.clip((strength - across) * spacing_px * 0.7 + 0.5, 0, 1) * (strength > 0.03)
        cover = np.maximum(cover, drawn.astype(np.float32))
    if hatching.light_on_dark:
        cover = 1 - cover
    return _over(picture, cover, hatching.colour)
