"""What the picture is painted on and what time did to it: weave, tooth, relief, grain, varnish.

Flows in: a picture and a painter's materials. Flows out: the finished pixels. Lengths are in 128ths of the
side. Never seen here: real artworks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter, sobel

from fedstyle_secure.artworks.atelier.colour import Lab, lab_to_rgb
from fedstyle_secure.artworks.atelier.noise import cloud, grid

__all__ = ["Finish", "Surface", "apply_surface", "finish"]


@dataclass(frozen=True)
class Surface:
    """A painter's materials.

    Args:
        relief: how much the height of the paint catches the light.
        light_radians: where that light comes from.
        weave: contrast of the canvas, 0..255.
        weave_spacing: distance of threads, 128ths of the side.
        tooth: how much bare paper shows between dry marks, 0..1.
        paper: Lab colour of that paper.
        grain: deviation of the grain, 0..255.
        grain_size: size of grains, 128ths of the side.
    """

    relief: float
    light_radians: float
    weave: float
    weave_spacing: float
    tooth: float
    paper: Lab
    grain: float
    grain_size: float


@dataclass(frozen=True)
class Finish:
    """The last things done to a picture.

    Args:
        gamma: above 1 darkens.
        contrast: 1 keeps.
        varnish: percent added to red and taken from blue.
        blur: radius in 128ths of the side.
        sharpen: strength of an unsharp mask.
    """

    gamma: float
    contrast: float
    varnish: float
    blur: float
    sharpen: float


def apply_surface(
    picture: Float32[np.ndarray, "side side 3"],
    height: Float32[np.ndarray, "side side"] | None,
    surface: Surface,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "side side 3"]:
    """Put a picture on its support.

    Args:
        picture: sRGB 0..255.
        height: height of the paint, or None where it was not laid in strokes.
        surface: the painter's materials.
        rng: the work's stream for the surface.

    Returns:
        The picture with relief, tooth, weave and grain.
    """
    side = picture.shape[0]
    unit = side / 128
    if surface.tooth:
        rough = cloud(rng, 40.0, side, octaves=2, fall=0.8)
        bare = np.clip((rough - 1.2 + 1.3 * surface.tooth) * 0.5, 0, 0.65)[..., None]
        picture = picture * (1 - bare) + bare * lab_to_rgb(np.array(surface.paper))
    if surface.relief:
        raised = gaussian_filter(
            height if height is not None else cloud(rng, 20.0, side, octaves=2), 0.6 * unit
        )
        slope = np.cos(surface.light_radians) * sobel(raised, 1) + np.sin(surface.light_radians) * sobel(
            raised, 0
        )
        picture = picture + np.clip(6 * surface.relief * unit * slope, -45, 45)[..., None]
    if surface.weave:
        rows, columns = grid(side)
        turn = 2 * np.pi * 128 / surface.weave_spacing
        threads = np.sin(turn * columns) * np.sin(turn * rows) + 0.4 * rng.standard_normal(
            (side, side), dtype=np.float32
        )
        picture = picture + surface.weave * threads[..., None]
    if surface.grain:
        grain = rng.standard_normal((side, side), dtype=np.float32)
        if surface.grain_size > 0.3:
            grain = gaussian_filter(grain, surface.grain_size * unit)
            grain /= grain.std()
        picture = picture + surface.grain * grain[..., None]
    return np.asarray(picture, dtype=np.float32)


def finish(picture: Float32[np.ndarray, "side side 3"], last: Finish) -> Float32[np.ndarray, "side side 3"]:
    """Tone, varnish, blur and sharpen a picture.

    Args:
        picture: sRGB 0..255.
        last: the painter's last touches.

    Returns:
        sRGB, still unrounded and unclipped.
    """
    unit = picture.shape[0] / 128
    done = 255 * (np.clip(picture, 0, 255) / 255) ** last.gamma
    done = (done - 128) * last.contrast + 128
    done = done * (1 + np.array([0.4, 0.1, -1.0]) * last.varnish / 100)
    if last.blur:
        done = gaussian_filter(done, (last.blur * unit, last.blur * unit, 0))
    if last.sharpen:
        done = done + last.sharpen * (done - gaussian_filter(done, (1.2 * unit, 1.2 * unit, 0)))
    return np.asarray(done, dtype=np.float32)
