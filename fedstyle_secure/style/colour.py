"""What an artist does with colour: moments and a histogram in CIE Lab.

Flows in: sRGB pixels. Flows out: two feature blocks, shared by every encoder. Never seen here: who made an
artwork.

Images are taken one at a time, so that a row never depends on what else was in the batch.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from fedstyle_secure.style.features import FeatureBlock

__all__ = ["COLOUR_FEATURE_BLOCKS", "colour_features", "rgb_to_lab"]

# An odd number of bins for a and b, so that neutral greys lie inside a bin and not on an edge, where rounding
# decides.
_BINS = (4, 7, 7)
_LOW = np.array([0.0, -60.0, -60.0])
_HIGH = np.array([100.0, 60.0, 60.0])

COLOUR_FEATURE_BLOCKS = (
    FeatureBlock("colour-moments", 9),
    FeatureBlock("colour-histogram", int(np.prod(_BINS))),
)

# IEC 61966-2-1 (sRGB) to CIE XYZ, divided by the D65 white point.
_RGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
) / np.array([[0.95047], [1.0], [1.08883]])
_F_TO_LAB = np.array([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]])
_LEVELS = np.arange(256) / 255.0
_LINEAR = np.where(_LEVELS > 0.04045, ((_LEVELS + 0.055) / 1.055) ** 2.4, _LEVELS / 12.92)


def rgb_to_lab(image: UInt8[np.ndarray, "height width 3"]) -> Float64[np.ndarray, "height width 3"]:
    """CIE Lab under D65 of 8-bit sRGB pixels.

    Args:
        image: red, green and blue, 0 to 255.

    Returns:
        L in 0..100, a and b in about -110..110.
    """
    xyz = _LINEAR[image].reshape(-1, 3) @ _RGB_TO_XYZ.T
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.asarray(f @ _F_TO_LAB.T - np.array([16.0, 0.0, 0.0])).reshape(image.shape)


def colour_features(
    images: UInt8[np.ndarray, "artworks height width 3"],
) -> dict[str, Float32[np.ndarray, "artworks _"]]:
    """Moments and histogram of the Lab values of each image.

    The moments are mean, standard deviation and the cube root of the third central moment, per channel: all
    three in units of Lab. Square roots of the histogram's shares make Euclidean distance the Hellinger
    distance.

    Args:
        images: 8-bit sRGB.

    Returns:
        ``colour-moments`` (9 columns) and ``colour-histogram``.
    """
    moments = np.empty((len(images), COLOUR_FEATURE_BLOCKS[0].size), dtype=np.float32)
    histograms = np.empty((len(images), COLOUR_FEATURE_BLOCKS[1].size), dtype=np.float32)
    for row, image in enumerate(images):
        lab = rgb_to_lab(image).reshape(-1, 3)
        mean = lab.mean(axis=0)
        centred = lab - mean
        squared = centred * centred
        spread, skew = np.sqrt(squared.mean(axis=0)), np.cbrt((squared * centred).mean(axis=0))
        moments[row] = np.concatenate([mean, spread, skew])
        histograms[row] = np.sqrt(_histogram(lab))
    return {"colour-moments": moments, "colour-histogram": histograms}


def _histogram(lab: Float64[np.ndarray, "pixels 3"]) -> Float64[np.ndarray, " bins"]:
    """Shares of pixels per bin of Lab; values outside the range count in the outermost bins."""
    bins = np.array(_BINS)
    position = ((lab - _LOW) * (bins / (_HIGH - _LOW))).astype(np.int64).clip(0, bins - 1)
    index = (position[:, 0] * _BINS[1] + position[:, 1]) * _BINS[2] + position[:, 2]
    return np.bincount(index, minlength=int(bins.prod())) / len(lab)
