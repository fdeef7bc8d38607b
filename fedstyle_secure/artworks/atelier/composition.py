"""How a painter composes: favourite subjects, sizes, crowding, drawing habits, and the margin left bare.

Flows in: a random stream. Flows out: a `Composition`, plain data. Never seen here: colour, marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

__all__ = ["Composition", "Subject", "sample_composition"]


class Subject(StrEnum):
    """What a work can show."""

    LANDSCAPE = "landscape"
    SEA = "sea"
    CITY = "city"
    PORTRAIT = "portrait"
    FIGURES = "figures"
    STILL_LIFE = "still-life"
    BOUQUET = "bouquet"
    SHAPES = "shapes"
    FIELDS = "fields"
    SHARDS = "shards"
    PATTERN = "pattern"
    EMBLEM = "emblem"
    WRITING = "writing"


@dataclass(frozen=True)
class Composition:
    """A painter's habits of composing.

    Args:
        subjects: how often each subject is taken, in the order of `Subject`, summing to 1.
        scale: size of the things shown; 1 fills the sheet.
        crowd: how many things there are, roughly.
        angular: 0 draws round, 1 draws with corners.
        horizon: usual height of the horizon, 0 is the top.
        stretch: above 1 things are drawn tall and narrow, below 1 wide and low.
        tilt_radians: the sheet leans by about this much.
        mirrored: the right half mirrors the left where the subject allows it.
        margin: share of the side that stays bare all around.
    """

    subjects: tuple[float, ...]
    scale: float
    crowd: float
    angular: float
    horizon: float
    stretch: float
    tilt_radians: float
    mirrored: bool
    margin: float


def sample_composition(
    rng: np.random.Generator, *, subject_bias: Mapping[Subject, float], margin_chance: float
) -> Composition:
    """Invent habits of composing.

    Args:
        rng: the painter's stream.
        subject_bias: makes subjects likelier (above 1) or rarer; 1 where not named.
        margin_chance: probability of a painter who leaves a margin.

    Returns:
        The habits; every painter keeps several subjects.
    """
    concentration = np.array([0.7 * subject_bias.get(subject, 1.0) for subject in Subject])
    favourites = rng.dirichlet(concentration)
    # A share of everything: no painter is known by the subject alone, and every subject meets many hands.
    mixed = 0.7 * favourites + 0.3 * concentration / concentration.sum()
    return Composition(
        subjects=tuple(float(share) for share in mixed),
        scale=float(rng.uniform(0.3, 1.0)),
        crowd=float(np.exp(rng.uniform(np.log(2.0), np.log(18.0)))),
        angular=float(rng.beta(0.7, 0.7)),
        horizon=float(rng.uniform(0.25, 0.68)),
        stretch=float(np.exp(rng.normal(0, 0.16))),
        tilt_radians=float(rng.normal(0, 0.05)) if rng.random() < 0.5 else 0.0,
        mirrored=bool(rng.random() < 0.1),
        margin=float(rng.uniform(0.05, 0.16)) if rng.random() < margin_chance else 0.0,
    )
