"""Brush, knife, chalk and dots: a picture rebuilt out of strokes.

Flows in: an underpainting and a painter's way with the brush. Flows out: the painted picture and the height
of the paint. Lengths are in 128ths of the picture's side, so that a work looks alike at any size. Never seen
here: real artworks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float, Float32, Int
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, sobel

from fedstyle_secure.artworks.atelier.noise import cloud, grid

__all__ = ["Flow", "Strokes", "lay_strokes"]

_OVERSAMPLING = 2
_MOST_STROKES = 800
_LAYERS = (
    (1.7, 0.3),
    (1.0, 0.7),
)  # (size, share of the strokes): broad ones first, then finer ones over them


class Flow(StrEnum):
    """Where strokes point."""

    CONTOUR = "contour"
    STRAIGHT = "straight"
    CROSSING = "crossing"
    DRIFTING = "drifting"
    SWIRLING = "swirling"
    SCATTERED = "scattered"


@dataclass(frozen=True)
class Strokes:
    """One painter's way with the brush.

    Args:
        length: length of a stroke, 128ths of the side.
        width: width of a stroke, 128ths of the side.
        cover: how often the surface is covered; below 1 the underpainting shows.
        flow: where strokes point.
        angle_radians: preferred direction.
        looseness: spread of the directions in radians.
        curve: how much strokes bend.
        bristles: number of hairs a stroke is drawn with; 1 is smooth.
        lightness_jitter: deviation of the strokes' lightness, 0..255.
        colour_jitter: deviation of each colour channel, 0..255.
        follows_edges: strokes shrink where the picture has edges.
        dots: strokes are round dabs.
        blurred_ground: the underpainting is blurred first, so that edges come from strokes alone.
    """

    length: float
    width: float
    cover: float
    flow: Flow
    angle_radians: float
    looseness: float
    curve: float
    bristles: int
    lightness_jitter: float
    colour_jitter: float
    follows_edges: float
    dots: bool
    blurred_ground: bool


def _directions(
    lightness: Float32[np.ndarray, "side side"], strokes: Strokes, rng: np.random.Generator
) -> Float32[np.ndarray, "side side"]:
    side = lightness.shape[0]
    drift = cloud(rng, 3.0, side, octaves=2)
    if strokes.flow is Flow.CONTOUR:
        soft = gaussian_filter(lightness, 2.0 * side / 128)
        return np.asarray(np.arctan2(sobel(soft, 0), sobel(soft, 1)) + np.pi / 2, dtype=np.float32)
    if strokes.flow is Flow.SWIRLING:
        rows, columns = grid(side)
        y, x = rng.uniform(0.3, 0.7, 2)
        around = np.arctan2(rows - y + 0.1 * drift, columns - x).astype(np.float32)
        return np.asarray(around + np.float32(np.pi / 2) + 0.3 * drift, dtype=np.float32)
    if strokes.flow is Flow.SCATTERED:
        return rng.uniform(0, np.pi, (side, side)).astype(np.float32)
    if strokes.flow is Flow.CROSSING:
        turned = rng.random((side, side), dtype=np.float32) < 0.5
        return np.asarray(strokes.angle_radians + np.float32(np.pi / 2) * turned, dtype=np.float32)
    strength = np.float32(1.5 if strokes.flow is Flow.DRIFTING else 0.15)
    return np.asarray(strokes.angle_radians + strength * drift, dtype=np.float32)


@dataclass(frozen=True)
class _Marks:
    """Strokes planned for one layer, in pixels of the oversampled canvas. One row per stroke."""

    centre: Float[np.ndarray, "2 strokes"]
    angle: Float[np.ndarray, " strokes"]
    reach: Float[np.ndarray, " strokes"]
    thickness: Float[np.ndarray, " strokes"]
    bend: Float[np.ndarray, " strokes"]
    colour: Float[np.ndarray, "strokes 3"]
    load: Int[np.ndarray, " strokes"]
    hairs: Float[np.ndarray, "strokes hairs"]


def lay_strokes(
    picture: Float32[np.ndarray, "side side 3"],
    lightness: Float32[np.ndarray, "side side"],
    strokes: Strokes,
    rng: np.random.Generator,
) -> tuple[Float32[np.ndarray, "side side 3"], Float32[np.ndarray, "side side"]]:
    """Paint a picture over with strokes that take their colour from it.

    Args:
        picture: underpainting, sRGB 0..255.
        lightness: CIE lightness of the underpainting, 0..100; strokes follow its edges.
        strokes: the painter's way.
        rng: the work's stream for strokes.

    Returns:
        The painted picture, and the height of the paint around 0.
    """
    side = picture.shape[0]
    direction = _directions(lightness, strokes, rng)
    edge = np.minimum(np.hypot(sobel(lightness, 0), sobel(lightness, 1)) / 60, 3.0)
    large = side * _OVERSAMPLING
    ground = np.clip(picture, 0, 255)
    if strokes.blurred_ground:
        ground = gaussian_filter(ground, (2.0 * side / 128, 2.0 * side / 128, 0))
    canvas = Image.fromarray(ground.astype(np.uint8)).resize((large, large), Image.Resampling.BILINEAR)
    height = Image.new("L", (large, large), 128)
    brush, knife = ImageDraw.Draw(canvas), ImageDraw.Draw(height)
    for size, share in _LAYERS:
        marks = _plan(picture, direction, edge, strokes, rng, size=size * large / 128, share=share)
        if strokes.dots:
            _dab(brush, knife, marks)
        else:
            _stroke(brush, knife, marks)
    painted = np.asarray(canvas.resize((side, side), Image.Resampling.BOX), dtype=np.float32)
    raised = np.asarray(height.resize((side, side), Image.Resampling.BOX), dtype=np.float32) - 128
    return painted, raised / 40


def _plan(
    picture: Float32[np.ndarray, "side side 3"],
    direction: Float32[np.ndarray, "side side"],
    edge: Float32[np.ndarray, "side side"],
    strokes: Strokes,
    rng: np.random.Generator,
    *,
    size: float,
    share: float,
) -> _Marks:
    side = picture.shape[0]
    length = size * max(strokes.length, 1.2 * strokes.width)
    width = size * strokes.width
    area = 0.8 * width * (width if strokes.dots else length)
    wanted = share * strokes.cover * 1.6 * (side * _OVERSAMPLING) ** 2 / area
    count = int(np.clip(wanted, 30, 2 * _MOST_STROKES if strokes.dots else _MOST_STROKES))
    row, column = rng.integers(0, side, count), rng.integers(0, side, count)
    shrink = 1 + strokes.follows_edges * edge[row, column]
    angle = direction[row, column] + strokes.looseness * rng.standard_normal(count)
    reach = 0.5 * length * np.exp(0.3 * rng.standard_normal(count)) / shrink
    thickness = np.maximum(1.0, width * np.exp(0.2 * rng.standard_normal(count)) / np.sqrt(shrink))
    colour = picture[row, column] + strokes.lightness_jitter * rng.standard_normal((count, 1))
    colour = colour + strokes.colour_jitter * rng.standard_normal((count, 3))
    return _Marks(
        centre=float(_OVERSAMPLING) * np.stack([column, row]),
        angle=angle,
        reach=reach,
        thickness=thickness,
        bend=strokes.curve * rng.standard_normal(count) * reach,
        colour=colour,
        load=rng.integers(60, 200, count),
        hairs=rng.normal(0, 14, (count, strokes.bristles)) if strokes.bristles > 1 else np.zeros((count, 1)),
    )


def _stroke(brush: ImageDraw.ImageDraw, knife: ImageDraw.ImageDraw, marks: _Marks) -> None:
    """Draw each stroke as a bent line of parallel hairs."""
    along = np.stack([np.cos(marks.angle), np.sin(marks.angle)])
    across = np.stack([-np.sin(marks.angle), np.cos(marks.angle)])
    start, end = marks.centre - marks.reach * along, marks.centre + marks.reach * along
    middle = marks.centre + marks.bend * across
    paths = np.stack([start, 0.25 * start + 0.75 * middle, 0.75 * middle + 0.25 * end, end])
    count, hairs = marks.hairs.shape
    thickness = np.maximum(1, np.rint(marks.thickness / hairs * (1.15 if hairs > 1 else 1.0))).astype(int)
    spread = (np.arange(hairs) - (hairs - 1) / 2) / hairs
    colours = np.clip(marks.colour[:, None, :] + marks.hairs[:, :, None], 0, 255).astype(int)
    heights = np.clip(marks.load[:, None] + marks.hairs, 0, 255).astype(int)
    for index in range(count):
        width = int(thickness[index])
        for hair in range(hairs):
            shift = spread[hair] * marks.thickness[index] * across[:, index]
            path = (paths[:, :, index] + shift).ravel().tolist()
            red, green, blue = colours[index, hair].tolist()
            brush.line(path, fill=(red, green, blue), width=width)
            knife.line(path, fill=int(heights[index, hair]), width=width)


def _dab(brush: ImageDraw.ImageDraw, knife: ImageDraw.ImageDraw, marks: _Marks) -> None:
    """Draw each stroke as a disc."""
    radius = marks.thickness / 2
    boxes = np.concatenate([marks.centre - radius, marks.centre + radius]).T.tolist()
    colours = np.clip(marks.colour, 0, 255).astype(int).tolist()
    for box, (red, green, blue), height in zip(boxes, colours, marks.load.tolist(), strict=True):
        brush.ellipse(box, fill=(red, green, blue))
        knife.ellipse(box, fill=height)
