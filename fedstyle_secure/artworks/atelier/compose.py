"""From a painter's habits to the scene of one work.

Flows in: a `Composition` and the work's random stream. Flows out: a `Scene`. Never seen here: colour, marks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int32
from PIL import Image

from fedstyle_secure.artworks.atelier import depicted, invented
from fedstyle_secure.artworks.atelier.composition import Composition, Subject
from fedstyle_secure.artworks.atelier.scene import Scene, Sheet

__all__ = ["compose"]

_Draw = Callable[[Sheet, np.random.Generator, Composition], None]

_DRAWERS: Mapping[Subject, _Draw] = {
    Subject.LANDSCAPE: depicted.landscape,
    Subject.SEA: depicted.sea,
    Subject.CITY: depicted.city,
    Subject.PORTRAIT: depicted.portrait,
    Subject.FIGURES: depicted.figures,
    Subject.STILL_LIFE: depicted.still_life,
    Subject.BOUQUET: depicted.bouquet,
    Subject.SHAPES: invented.shapes,
    Subject.FIELDS: invented.fields,
    Subject.SHARDS: invented.shards,
    Subject.PATTERN: invented.pattern,
    Subject.EMBLEM: invented.emblem,
    Subject.WRITING: invented.writing,
}
_MIRRORABLE = frozenset({Subject.SHAPES, Subject.FIELDS, Subject.SHARDS, Subject.EMBLEM, Subject.BOUQUET})


def compose(composition: Composition, rng: np.random.Generator, *, side_px: int) -> Scene:
    """Draw the scene of one work.

    Args:
        composition: the painter's habits.
        rng: the work's stream.
        side_px: side of the map of regions in pixels.

    Returns:
        A new scene; two streams give different content by the same habits.
    """
    subject = list(Subject)[int(rng.choice(len(Subject), p=composition.subjects))]
    sheet = Sheet(side_px)
    _DRAWERS[subject](sheet, rng, composition)
    scene = sheet.finish()
    regions = scene.regions
    if subject not in (Subject.PATTERN, Subject.WRITING):
        regions = _lean(regions, composition, tilt=composition.tilt_radians * (0.6 + 0.8 * rng.random()))
    if composition.mirrored and subject in _MIRRORABLE:
        half = side_px // 2
        regions = np.concatenate([regions[:, :half], regions[:, :half][:, ::-1]], axis=1)
    return Scene(regions=np.ascontiguousarray(regions), roles=scene.roles, covers_ground=scene.covers_ground)


def _lean(
    regions: Int32[np.ndarray, "tall wide"], composition: Composition, *, tilt: float
) -> Int32[np.ndarray, "tall wide"]:
    """Stretch and tilt around the centre, never showing what lies outside the sheet."""
    side = regions.shape[0]
    cosine, sine = np.cos(tilt), np.sin(tilt)
    across, down = np.sqrt(composition.stretch), 1 / np.sqrt(composition.stretch)
    matrix = np.array([[cosine * across, -sine * across], [sine * down, cosine * down]])
    matrix /= max(1.0, float(np.abs(matrix).sum(axis=1).max()))
    centre = np.array([side / 2, side / 2])
    offset = centre - matrix @ centre
    affine = (*matrix[0], offset[0], *matrix[1], offset[1])
    leaned = Image.fromarray(regions).transform(
        (side, side), Image.Transform.AFFINE, affine, Image.Resampling.NEAREST
    )
    return np.array(leaned, dtype=np.int32)
