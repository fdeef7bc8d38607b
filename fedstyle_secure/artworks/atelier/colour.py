"""Colour as a painter uses it: CIE Lab palettes, and which part of a scene takes which colour.

Flows in: a painter's palette and a random stream. Flows out: Lab colours and sRGB pixels. Never seen here:
real artworks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float, Float64

from fedstyle_secure.artworks.atelier.scene import Role

__all__ = ["Lab", "Palette", "Scheme", "lab_to_rgb", "mix_palette", "sample_palette"]

Lab = tuple[float, float, float]

# CIE XYZ divided by the D65 white point -> linear sRGB (IEC 61966-2-1).
_XYZ_TO_RGB = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ],
    dtype=np.float32,
) * np.array([0.95047, 1.0, 1.08883], dtype=np.float32)


class Scheme(StrEnum):
    """How the hues of a palette relate."""

    ONE_HUE = "one-hue"
    NEIGHBOURS = "neighbours"
    OPPOSITES = "opposites"
    THIRDS = "thirds"
    WARM_AND_COOL = "warm-and-cool"
    FREE = "free"


@dataclass(frozen=True)
class Palette:
    """The colours of one painter.

    Args:
        colours: Lab colours, lightness 0..100.
        weights: how often each is taken, summing to 1.
        habits: for each role of a scene, the index of the colour this painter usually gives it.
        loyalty: probability that a role gets its usual colour.
        mood: how much the palette shifts from one work to the next; 0 keeps it.
    """

    colours: tuple[Lab, ...]
    weights: tuple[float, ...]
    habits: tuple[int, ...]
    loyalty: float
    mood: float


def lab_to_rgb(lab: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """Convert CIE Lab (D65) to sRGB, clipped to the gamut.

    Args:
        lab: lightness 0..100 and the two colour axes.

    Returns:
        sRGB in 0..255, float32.
    """
    lab = np.asarray(lab, dtype=np.float32)
    f_y = (lab[..., 0] + 16.0) / 116.0
    f = np.stack([f_y + lab[..., 1] / 500.0, f_y, f_y - lab[..., 2] / 200.0], axis=-1)
    xyz = np.where(f > 6 / 29, f * f * f, (f - 16 / 116) * (3 * (6 / 29) ** 2)).astype(np.float32)
    linear = np.clip(xyz @ _XYZ_TO_RGB.T, 0.0, 1.0)
    encoded = np.where(linear > 0.0031308, 1.055 * np.power(linear + 1e-9, 1 / 2.4) - 0.055, 12.92 * linear)
    return np.asarray(255.0 * encoded, dtype=np.float32)


def sample_palette(rng: np.random.Generator, *, vivid: float) -> Palette:
    """Invent a palette.

    Args:
        rng: the painter's stream.
        vivid: scales the colourfulness; 1 is a painter's middle.

    Returns:
        A palette of 4 to 11 colours.
    """
    count = int(rng.integers(4, 10))
    scheme = rng.choice(list(Scheme), p=[0.14, 0.24, 0.22, 0.13, 0.13, 0.14])
    first_hue = rng.uniform(0, 360) if rng.random() < 0.7 else rng.uniform(40, 95)
    offsets: dict[str, list[float]] = {
        Scheme.ONE_HUE: [0],
        Scheme.NEIGHBOURS: [0, 25, -25, 45],
        Scheme.OPPOSITES: [0, 180, 15, 195],
        Scheme.THIRDS: [0, 120, 240],
        Scheme.WARM_AND_COOL: [60 - first_hue, 250 - first_hue],
        Scheme.FREE: list(rng.uniform(0, 360, 6)),
    }
    turns = np.resize(np.array(offsets[scheme], dtype=np.float64), count)
    hue = np.radians(first_hue + turns + rng.normal(0, rng.uniform(3, 20), count))
    chroma_middle = vivid * rng.choice(
        [rng.uniform(2, 14), rng.uniform(14, 38), rng.uniform(35, 80)], p=[0.15, 0.45, 0.4]
    )
    middle, spread = rng.uniform(32, 70), rng.uniform(12, 30)
    # Evenly spread ranks keep a light and a dark in every palette, so that a scene stays legible.
    ranks = rng.permutation(np.linspace(-1.5, 1.5, count)) + rng.normal(0, 0.25, count)
    lightness = np.clip(middle + spread * ranks, 5, 97)
    chroma = np.abs(chroma_middle * (1 + 0.4 * rng.standard_normal(count)))
    chroma *= np.clip(1.2 - np.abs(lightness - 55) / 70, 0.2, 1)
    colours = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    if rng.random() < 0.3:
        colours = np.concatenate([colours, [[95.0, 0.0, 3.0]]])
    if rng.random() < 0.3:
        colours = np.concatenate([colours, [[10.0, 0.0, 0.0]]])
    weights = rng.dirichlet(np.full(len(colours), 1.5))
    return Palette(
        colours=tuple((float(a), float(b), float(c)) for a, b, c in colours),
        weights=tuple(float(weight) for weight in weights),
        habits=tuple(_habit(role, colours, weights, rng) for role in Role),
        loyalty=float(rng.uniform(0.3, 0.8)),
        mood=float(rng.uniform(0.4, 1.5)),
    )


def _habit(
    role: Role,
    colours: Float64[np.ndarray, "colours 3"],
    weights: Float64[np.ndarray, " colours"],
    rng: np.random.Generator,
) -> int:
    order = np.argsort(colours[:, 0])
    if role is Role.DARK:
        return int(order[0])
    if role is Role.LIGHT:
        return int(order[-1])
    return int(rng.choice(len(colours), p=weights))


def mix_palette(
    palette: Palette, roles: tuple[Role, ...], rng: np.random.Generator
) -> Float64[np.ndarray, "regions 3"]:
    """Choose a Lab colour for each region of one work.

    Args:
        palette: the painter's palette.
        roles: what each region of the scene is.
        rng: the work's stream.

    Returns:
        One Lab colour per region.
    """
    colours = np.array(palette.colours)
    mood = palette.mood
    colours = colours + mood * rng.standard_normal(colours.shape) * (7.0, 6.0, 6.0)
    colours[:, 0] += 7.0 * mood * rng.standard_normal()
    turn = 0.6 * mood * rng.standard_normal()
    cosine, sine = np.cos(turn), np.sin(turn)
    colours[:, 1:] = colours[:, 1:] @ np.array([[cosine, sine], [-sine, cosine]])
    colours[:, 1:] *= np.exp(0.3 * mood * rng.standard_normal())
    picked = rng.choice(len(colours), size=len(roles), p=palette.weights)
    usual = np.array([palette.habits[role] for role in roles])
    chosen = np.where(rng.random(len(roles)) < palette.loyalty, usual, picked)
    jittered: Float64[np.ndarray, "regions 3"] = colours[chosen] + rng.standard_normal((len(roles), 3)) * (
        4.5,
        3.0,
        3.0,
    )
    return jittered
