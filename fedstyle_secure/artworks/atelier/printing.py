"""Wet, cut and printed marks: washes that pool, tiles with grout, screens of dots or lines.

Flows in: a picture and a painter's technique. Flows out: the picture in that technique. Lengths are in 128ths
of the side. Never seen here: real artworks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

from fedstyle_secure.artworks.atelier.colour import Lab, lab_to_rgb
from fedstyle_secure.artworks.atelier.noise import cloud, grid

__all__ = ["Mosaic", "Screen", "ScreenKind", "Wash", "lay_mosaic", "lay_wash", "print_screen"]

_BAYER = np.array(
    [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], dtype=np.float32
) / 16 - np.float32(0.47)


@dataclass(frozen=True)
class Wash:
    """Thin wet paint on paper.

    Args:
        paper: Lab colour of the paper.
        strength: how much paint there is; the paper shows through the rest.
        pooling: how dark paint dries at its edges.
        bleed: how far colours run into each other, 128ths of the side.
        fray: how far edges wander, 128ths of the side.
        granulation: how unevenly pigment settles.
    """

    paper: Lab
    strength: float
    pooling: float
    bleed: float
    fray: float
    granulation: float


@dataclass(frozen=True)
class Mosaic:
    """A picture of tiles.

    Args:
        tile: side of a tile, 128ths of the side.
        broken: 0 sets square tiles, 1 broken ones.
        grout: width of the joints, share of a tile.
        colour: Lab colour of the joints.
        lightness_jitter: deviation of the tiles' lightness, 0..255.
    """

    tile: float
    broken: float
    grout: float
    colour: Lab
    lightness_jitter: float


class ScreenKind(StrEnum):
    """How tones are made out of full ink."""

    DOTS = "dots"
    LINES = "lines"
    ORDERED = "ordered"
    FLAT = "flat"


@dataclass(frozen=True)
class Screen:
    """A printer's screen.

    Args:
        kind: how tones are made.
        spacing: distance of dots or lines, 128ths of the side.
        angle_radians: how the screen is turned.
        levels: tones per channel that are left.
        strength: how black the screen prints, 0..1.
        ink: Lab colour of the screen.
        shift: how far the plates are out of register, 128ths of the side.
    """

    kind: ScreenKind
    spacing: float
    angle_radians: float
    levels: int
    strength: float
    ink: Lab
    shift: float


def lay_wash(
    picture: Float32[np.ndarray, "side side 3"], wash: Wash, rng: np.random.Generator
) -> Float32[np.ndarray, "side side 3"]:
    """Turn a picture into thin wet paint.

    Args:
        picture: sRGB 0..255.
        wash: the painter's way.
        rng: the work's stream for washes.

    Returns:
        The painted paper.
    """
    side = picture.shape[0]
    unit = side / 128
    rows, columns = np.arange(side)[:, None], np.arange(side)[None, :]
    down = np.rint(rows + wash.fray * unit * cloud(rng, 9.0, side, octaves=3)).astype(np.intp)
    across = np.rint(columns + wash.fray * unit * cloud(rng, 9.0, side, octaves=3)).astype(np.intp)
    frayed = picture[np.clip(down, 0, side - 1), np.clip(across, 0, side - 1)]
    edge = gaussian_gradient_magnitude(frayed.mean(axis=-1), 1.1 * unit) * unit
    wet = np.clip(0.5 + cloud(rng, 3.0, side, octaves=2), 0, 1)[..., None]
    run = gaussian_filter(frayed, (wash.bleed * unit, wash.bleed * unit, 0))
    frayed = frayed * (1 - wet) + run * wet
    paper = lab_to_rgb(np.array(wash.paper))
    grain = 1 + wash.granulation * cloud(rng, 24.0, side, octaves=3, fall=0.9)
    tide = 1 + wash.pooling * np.minimum(edge / 8, 2.0)
    thickness = np.clip(
        wash.strength * grain * tide * (0.85 + 0.25 * cloud(rng, 2.0, side, octaves=2)), 0.05, 1.6
    )
    # Pigment lets light through: optical density adds up (Beer and Lambert's law).
    transmitted = np.clip(frayed / np.maximum(paper, 1.0), 0.02, 1.0) ** thickness[..., None]
    return np.asarray(paper * transmitted, dtype=np.float32)


def lay_mosaic(
    picture: Float32[np.ndarray, "side side 3"], mosaic: Mosaic, rng: np.random.Generator
) -> Float32[np.ndarray, "side side 3"]:
    """Set a picture in tiles.

    Args:
        picture: sRGB 0..255.
        mosaic: the painter's tiles.
        rng: the work's stream for tiles.

    Returns:
        The picture in tiles.
    """
    side = picture.shape[0]
    tiles = max(4, round(128 / mosaic.tile))
    seeds = 0.5 + 0.85 * mosaic.broken * rng.uniform(-0.5, 0.5, (tiles + 2, tiles + 2, 2)).astype(np.float32)
    rows, columns = grid(side)
    v, u = np.broadcast_arrays(rows * tiles + 1, columns * tiles + 1)
    cell_v, cell_u = v.astype(np.intp), u.astype(np.intp)
    nearest = np.full((side, side), np.inf, dtype=np.float32)
    second = nearest.copy()
    owner = np.zeros((side, side), dtype=np.intp)
    for step_v in (-1, 0, 1):
        for step_u in (-1, 0, 1):
            at_v, at_u = np.clip(cell_v + step_v, 0, tiles + 1), np.clip(cell_u + step_u, 0, tiles + 1)
            seed = seeds[at_v, at_u]
            away = np.maximum(np.abs(at_v + seed[..., 0] - v), np.abs(at_u + seed[..., 1] - u))
            closer = away < nearest
            second = np.where(closer, nearest, np.minimum(second, away))
            owner = np.where(closer, at_v * (tiles + 2) + at_u, owner)
            nearest = np.where(closer, away, nearest)
    index = np.arange(tiles + 2)
    at = np.clip((index[:, None] + seeds[..., 0] - 1) / tiles * side, 0, side - 1).astype(np.intp)
    to = np.clip((index[None, :] + seeds[..., 1] - 1) / tiles * side, 0, side - 1).astype(np.intp)
    soft = gaussian_filter(picture, (0.25 * side / tiles, 0.25 * side / tiles, 0))
    colours = (soft[at, to] + mosaic.lightness_jitter * rng.standard_normal((*at.shape, 1))).reshape(-1, 3)
    joint = np.clip((mosaic.grout - (second - nearest)) * side / tiles + 0.5, 0, 1)[..., None]
    return np.asarray(
        colours[owner] * (1 - joint) + joint * lab_to_rgb(np.array(mosaic.colour)), dtype=np.float32
    )


def print_screen(
    picture: Float32[np.ndarray, "side side 3"], screen: Screen
) -> Float32[np.ndarray, "side side 3"]:
    """Print a picture through a screen.

    Args:
        picture: sRGB 0..255.
        screen: the printer's screen.

    Returns:
        The print.
    """
    side = picture.shape[0]
    steps = screen.levels - 1
    shift = round(screen.shift * side / 128)
    tones = np.clip(picture, 0, 255) / 255
    if shift:
        tones = np.stack(
            [tones[..., 0], np.roll(tones[..., 1], shift, axis=1), np.roll(tones[..., 2], -shift, axis=0)],
            axis=-1,
        )
    if screen.kind is ScreenKind.ORDERED:
        fine = max(1, round(side / 128))
        threshold = np.tile(_BAYER.repeat(fine, 0).repeat(fine, 1), (side // (4 * fine) + 1,) * 2)[
            :side, :side, None
        ]
        return np.asarray(255 * np.clip(np.rint(tones * steps + threshold) / steps, 0, 1), dtype=np.float32)
    flat = np.rint(tones * steps) / steps
    if screen.kind is ScreenKind.FLAT:
        return np.asarray(255 * flat, dtype=np.float32)
    rows, columns = grid(side)
    cosine, sine = np.cos(screen.angle_radians), np.sin(screen.angle_radians)
    scale = 2 * np.pi * 128 / screen.spacing
    wave = np.cos(scale * (columns * cosine + rows * sine))
    if screen.kind is ScreenKind.DOTS:
        wave = wave * np.cos(scale * (rows * cosine - columns * sine))
    grey = tones.mean(axis=-1)
    inked = (
        np.clip((wave * 0.5 + 0.5 - grey) * 1.2 * screen.spacing * side / 128 + 0.5, 0, 1)[..., None]
        * screen.strength
    )
    return np.asarray(255 * flat * (1 - inked) + inked * lab_to_rgb(np.array(screen.ink)), dtype=np.float32)
