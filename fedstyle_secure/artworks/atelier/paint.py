"""From a painter and a name to a picture, in the order a painter works: scene, colour, light, marks, surface.

Flows in: a `Painter` and the words that name a work. Flows out: sRGB pixels. Never seen here: real artworks;
nothing private is ever an input.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter, sobel

from fedstyle_secure.artworks.atelier.colour import lab_to_rgb, mix_palette
from fedstyle_secure.artworks.atelier.compose import compose
from fedstyle_secure.artworks.atelier.drawing import draw_hatching, draw_outline
from fedstyle_secure.artworks.atelier.families import Ground
from fedstyle_secure.artworks.atelier.noise import cloud, grid, resized
from fedstyle_secure.artworks.atelier.painter import Light, Painter
from fedstyle_secure.artworks.atelier.printing import lay_mosaic, lay_wash, print_screen
from fedstyle_secure.artworks.atelier.scene import Scene
from fedstyle_secure.artworks.atelier.strokes import lay_strokes
from fedstyle_secure.artworks.atelier.surface import apply_surface, finish

__all__ = ["paint_work"]

_OVERSAMPLING = 2
_BARE = (Ground.WHITE, Ground.PAPER)
_DARKEST_MEAN = 24.0  # of 0..255: darker pictures are lifted, nothing could be seen in them


def paint_work(
    painter: Painter, streams: Callable[[str], np.random.Generator], *, image_size: int
) -> UInt8[np.ndarray, "side side 3"]:
    """Paint one work.

    Every step draws from a stream of its own, so that content, colours and marks do not depend on each other.

    Args:
        painter: who paints.
        streams: gives the work's stream for a step by the step's name.
        image_size: side of the picture in pixels.

    Returns:
        The picture.
    """
    scene = compose(painter.composition, streams("scene"), side_px=_OVERSAMPLING * image_size)
    lab, things = _underpaint(painter, scene, streams("colour"))
    lab = _model(lab, scene, things, painter.light, streams("light"))
    lightness = np.clip(lab[..., 0], 0, 100)
    height = None
    picture = lab_to_rgb(_laid_in(lab, painter, things))
    if painter.wash:
        picture = lay_wash(picture, painter.wash, streams("wash"))
    if painter.strokes:
        picture, height = lay_strokes(picture, lightness, painter.strokes, streams("strokes"))
    if painter.mosaic:
        picture = lay_mosaic(picture, painter.mosaic, streams("mosaic"))
    if painter.outline:
        picture = draw_outline(picture, scene.regions, painter.outline, streams("outline"))
    if painter.hatching:
        picture = draw_hatching(picture, lightness, painter.hatching, streams("hatching"))
    if painter.screen:
        picture = print_screen(picture, painter.screen)
    picture = _framed(picture, painter)
    picture = apply_surface(picture, height, painter.surface, streams("surface"))
    picture = finish(picture, painter.finish)
    mean = float(np.clip(picture, 0, 255).mean())
    if mean < _DARKEST_MEAN:
        picture = picture * (_DARKEST_MEAN / max(mean, 4.0))
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _box(field: Float32[np.ndarray, "tall wide"], side: int) -> Float32[np.ndarray, "side side"]:
    return resized(field, side, how=Image.Resampling.BOX)


def _underpaint(
    painter: Painter, scene: Scene, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "side side 3"], Float32[np.ndarray, "side side"]]:
    """Flat Lab colours of all regions, and how much of each pixel is a thing rather than bare ground."""
    side = scene.regions.shape[0] // _OVERSAMPLING
    colours = mix_palette(painter.palette, scene.roles, rng).astype(np.float32)
    bare = not scene.covers_ground and painter.ground is not Ground.SCENE and rng.random() < 0.9
    if bare:
        colours[0] = np.array(painter.ground_colour) + rng.normal(0, 1.5, 3)
    flat = colours[scene.regions]
    lab = np.stack([_box(np.ascontiguousarray(flat[..., axis]), side) for axis in range(3)], axis=-1)
    if bare and painter.ground is Ground.GRADED:
        rows, _ = grid(side)
        behind = _box((scene.regions == 0).astype(np.float32), side)
        lab[..., 0] += 30 * (rows - 0.5) * behind
    keeps_ground_flat = bare and painter.ground in _BARE
    things = (
        _box((scene.regions > 0).astype(np.float32), side)
        if keeps_ground_flat
        else np.ones((side, side), np.float32)
    )
    return lab, things


def _model(
    lab: Float32[np.ndarray, "side side 3"],
    scene: Scene,
    things: Float32[np.ndarray, "side side"],
    light: Light,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "side side 3"]:
    """Light and shade."""
    side = lab.shape[0]
    unit = side / 128
    lab = lab.copy()
    angle = light.angle_radians + 0.25 * rng.standard_normal()
    if light.shading:
        lab[..., 0] += 14 * light.shading * things * _relief(scene.regions, light.softness * unit, angle, rng)
    if light.fall:
        rows, columns = grid(side)
        lab[..., 0] += light.fall * things * ((columns - 0.5) * np.cos(angle) + (rows - 0.5) * np.sin(angle))
    if light.edge_blur > 0.2:
        lab = gaussian_filter(lab, (light.edge_blur * unit, light.edge_blur * unit, 0))
    if light.chiaroscuro:
        rows, columns = grid(side)
        y, x = np.array([0.45, 0.5]) + rng.normal(0, 0.1, 2)
        lit = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / rng.uniform(0.07, 0.25))
        lab *= (1 - 0.75 * light.chiaroscuro * (1 - lit))[..., None]
    return lab.astype(np.float32)


def _relief(
    regions: Int32[np.ndarray, "tall wide"], softness_px: float, angle: float, rng: np.random.Generator
) -> Float32[np.ndarray, "side side"]:
    """Shade as if every region were raised to a random height and lit from one side."""
    side = regions.shape[0] // _OVERSAMPLING
    heights = rng.uniform(0.2, 1, int(regions.max()) + 1).astype(np.float32)
    heights[0] = 0.0
    raised = gaussian_filter(_box(heights[regions], side), 0.5 * softness_px)
    slope = np.cos(angle) * sobel(raised, 1) + np.sin(angle) * sobel(raised, 0)
    slope = np.clip(slope / (3 * np.abs(slope).mean() + 1e-5), -1.5, 1.5)
    return np.asarray(slope + 0.3 * cloud(rng, 3.0, side, octaves=2), dtype=np.float32)


def _laid_in(
    lab: Float32[np.ndarray, "side side 3"], painter: Painter, things: Float32[np.ndarray, "side side"]
) -> Float32[np.ndarray, "side side 3"]:
    """Thin colours out towards the paper for painters who hardly fill."""
    if painter.fill >= 1:
        return lab
    paper = np.array(painter.surface.paper, dtype=np.float32)
    cover = painter.fill * (0.5 + 0.5 * things)[..., None]
    return np.asarray(paper + cover * (lab - paper), dtype=np.float32)


def _framed(
    picture: Float32[np.ndarray, "side side 3"], painter: Painter
) -> Float32[np.ndarray, "side side 3"]:
    """Leave a bare margin around the picture."""
    margin = painter.composition.margin
    if not margin:
        return picture
    side = picture.shape[0]
    inner = side - 2 * round(margin * side)
    paper = painter.ground_colour if painter.ground in _BARE else painter.surface.paper
    framed = np.empty_like(picture)
    framed[:] = lab_to_rgb(np.array(paper))
    start = (side - inner) // 2
    for channel in range(3):
        small = resized(np.ascontiguousarray(picture[..., channel]), inner, how=Image.Resampling.BOX)
        framed[start : start + inner, start : start + inner, channel] = small
    return framed
