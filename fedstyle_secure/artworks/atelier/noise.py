"""Smooth random fields, the raw material of clouds, paper and wandering strokes.

Flows in: a random stream. Flows out: fields of zero mean and unit deviation. Never seen here: privacy noise;
that comes from elsewhere and is never smooth.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from PIL import Image

__all__ = ["cloud", "grid", "resized", "ridge"]


def resized(
    field: Float32[np.ndarray, "tall wide"], side_px: int, *, how: Image.Resampling
) -> Float32[np.ndarray, "side side"]:
    """A field at another size."""
    image = Image.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    return np.array(image.resize((side_px, side_px), how), dtype=np.float32)


def cloud(
    rng: np.random.Generator, waves: float, side_px: int, *, octaves: int = 3, fall: float = 0.55
) -> Float32[np.ndarray, "side side"]:
    """Smooth noise with about `waves` bumps along a side, and finer ones on top.

    Args:
        rng: random stream.
        waves: bumps along a side in the coarsest octave.
        side_px: side of the field in pixels.
        octaves: how many times the waves are doubled.
        fall: strength of each octave relative to the one before.

    Returns:
        A field of zero mean and unit deviation.
    """
    field = np.zeros((side_px, side_px), dtype=np.float32)
    for octave in range(octaves):
        points = max(2, int(waves * 2**octave))
        if octave and points >= side_px:
            break
        coarse = rng.standard_normal((points + 2, points + 2), dtype=np.float32)
        field += fall**octave * resized(coarse, side_px, how=Image.Resampling.BICUBIC)
    field -= field.mean()
    field /= field.std() + np.float32(1e-6)
    return field


def ridge(rng: np.random.Generator, waves: int, side_px: int) -> Float32[np.ndarray, " side"]:
    """A smooth random line with about `waves` bumps."""
    coarse = rng.standard_normal((1, waves), dtype=np.float32).repeat(2, axis=0)
    line: Float32[np.ndarray, " side"] = resized(coarse, side_px, how=Image.Resampling.BICUBIC)[0]
    return line


def grid(side_px: int) -> tuple[Float32[np.ndarray, "side 1"], Float32[np.ndarray, "1 side"]]:
    """Row and column of every pixel, 0..1."""
    axis = ((np.arange(side_px) + 0.5) / side_px).astype(np.float32)
    return axis[:, None], axis[None, :]
