"""Thirteen families of mark-making, each as ranges from which a painter's own way is drawn.

Flows in: nothing. Flows out: one `Recipe` per family. Never seen here: pictures.

The ranges overlap and every family may borrow from others (an outlined brush painting, a grainy print):
painters of one family differ from each other, and no trait but the main one belongs to a family alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fedstyle_secure.artworks.atelier.composition import Subject

__all__ = ["RECIPES", "Family", "Ground", "Recipe", "Span"]

Span = tuple[float, float]


class Family(StrEnum):
    """The mark that dominates a painter's surface."""

    BRUSH = "brush"
    CUTOUT = "cutout"
    HATCH = "hatch"
    DABS = "dabs"
    CARTOON = "cartoon"
    GLAZE = "glaze"
    MOSAIC = "mosaic"
    PEN = "pen"
    IMPASTO = "impasto"
    PRINT = "print"
    WASH = "wash"
    PASTEL = "pastel"
    GLOSS = "gloss"


class Ground(StrEnum):
    """What lies behind the things shown."""

    WHITE = "white"
    PAPER = "paper"
    SOLID = "solid"
    GRADED = "graded"
    SCENE = "scene"
    DARK = "dark"


@dataclass(frozen=True)
class Recipe:
    """Ranges of one family; the defaults are those of a painting without anything special.

    Args:
        grounds: weight of each ground.
        stroke_chance: probability of painting with strokes.
        stroke_length: 128ths of the side.
        stroke_width: 128ths of the side.
        stroke_cover: how often strokes cover the surface.
        stroke_jitter: deviation of the strokes' lightness, 0..255.
        dot_chance: probability that strokes are round.
        bristle_chance: probability of strokes with hairs.
        outline_chance: probability of outlines.
        outline_width: 128ths of the side.
        free_line: how uneven and searching outlines are, 0..1.
        hatch_chance: probability of hatching.
        screen_chance: probability of a printer's screen.
        screen_kinds: weights of dots, lines, ordered and flat tones.
        wash_chance: probability of thin wet paint.
        mosaic_chance: probability of tiles.
        fill: how full colours are laid in; 0 leaves paper.
        shading: strength of modelling.
        edge_blur: softness of edges, 128ths of the side.
        chiaroscuro_chance: probability of light against dark.
        relief_chance: probability of paint that catches the light.
        weave_chance: probability of visible canvas.
        tooth_chance: probability of rough paper.
        grain: deviation of the grain, 0..255.
        varnish_chance: probability of an aged varnish.
        margin_chance: probability of a bare margin.
        vivid: scale of the colourfulness.
        subjects: bias on subjects.
    """

    grounds: Mapping[Ground, float]
    stroke_chance: float = 0.0
    stroke_length: Span = (8.0, 24.0)
    stroke_width: Span = (2.0, 5.0)
    stroke_cover: Span = (0.7, 1.6)
    dot_chance: float = 0.0
    stroke_jitter: Span = (1.0, 16.0)
    bristle_chance: float = 0.4
    outline_chance: float = 0.12
    outline_width: Span = (0.5, 1.8)
    free_line: float = 0.5
    hatch_chance: float = 0.04
    screen_chance: float = 0.02
    screen_kinds: tuple[float, float, float, float] = (0.1, 0.1, 0.1, 0.7)
    wash_chance: float = 0.0
    mosaic_chance: float = 0.0
    fill: Span = (1.0, 1.0)
    shading: Span = (0.3, 1.3)
    edge_blur: Span = (0.2, 1.2)
    chiaroscuro_chance: float = 0.3
    relief_chance: float = 0.1
    weave_chance: float = 0.3
    tooth_chance: float = 0.05
    grain: Span = (0.0, 7.0)
    varnish_chance: float = 0.4
    margin_chance: float = 0.05
    vivid: float = 1.0
    subjects: Mapping[Subject, float] = field(default_factory=dict)


_PAINTED = {Ground.SCENE: 0.55, Ground.DARK: 0.17, Ground.GRADED: 0.12, Ground.SOLID: 0.1, Ground.PAPER: 0.06}
_CLEAN = {Ground.WHITE: 0.5, Ground.SCENE: 0.2, Ground.SOLID: 0.17, Ground.PAPER: 0.07, Ground.GRADED: 0.06}
_ON_PAPER = {Ground.PAPER: 0.55, Ground.WHITE: 0.3, Ground.SCENE: 0.15}

_SHOWN = {
    Subject.LANDSCAPE: 2.2,
    Subject.SEA: 1.6,
    Subject.CITY: 1.4,
    Subject.PORTRAIT: 2.0,
    Subject.STILL_LIFE: 2.0,
    Subject.FIGURES: 2.2,
    Subject.BOUQUET: 1.6,
    Subject.WRITING: 0.2,
    Subject.PATTERN: 0.3,
    Subject.EMBLEM: 0.4,
}
_SIGNS = {
    Subject.EMBLEM: 2.2,
    Subject.PATTERN: 1.0,
    Subject.SHAPES: 1.6,
    Subject.WRITING: 0.5,
    Subject.PORTRAIT: 1.3,
}

RECIPES: Mapping[Family, Recipe] = {
    Family.BRUSH: Recipe(
        grounds=_PAINTED,
        stroke_chance=1.0,
        stroke_length=(9.0, 34.0),
        stroke_width=(1.6, 5.0),
        bristle_chance=0.55,
        relief_chance=0.3,
        subjects=_SHOWN,
    ),
    Family.DABS: Recipe(
        grounds=_PAINTED,
        stroke_chance=1.0,
        stroke_length=(2.2, 6.0),
        stroke_jitter=(10.0, 26.0),
        stroke_width=(1.4, 3.4),
        stroke_cover=(0.6, 1.1),
        dot_chance=0.6,
        bristle_chance=0.0,
        relief_chance=0.2,
        vivid=1.2,
        subjects=_SHOWN,
    ),
    Family.IMPASTO: Recipe(
        grounds=_PAINTED,
        stroke_chance=1.0,
        stroke_length=(8.0, 22.0),
        stroke_width=(3.5, 9.0),
        stroke_cover=(1.0, 1.8),
        bristle_chance=0.7,
        relief_chance=1.0,
        weave_chance=0.1,
        subjects=_SHOWN,
    ),
    Family.PASTEL: Recipe(
        grounds={Ground.PAPER: 0.4, Ground.SCENE: 0.35, Ground.DARK: 0.25},
        stroke_chance=1.0,
        stroke_length=(8.0, 26.0),
        stroke_width=(1.2, 3.5),
        stroke_cover=(0.5, 1.1),
        bristle_chance=0.2,
        outline_chance=0.3,
        tooth_chance=1.0,
        weave_chance=0.05,
        varnish_chance=0.1,
        subjects=_SHOWN,
    ),
    Family.GLAZE: Recipe(
        grounds={Ground.DARK: 0.5, Ground.SCENE: 0.4, Ground.GRADED: 0.1},
        outline_chance=0.05,
        shading=(0.8, 1.7),
        edge_blur=(0.7, 2.0),
        chiaroscuro_chance=0.75,
        weave_chance=0.4,
        grain=(1.0, 7.0),
        varnish_chance=0.8,
        vivid=0.85,
        subjects=_SHOWN,
    ),
    Family.WASH: Recipe(
        grounds=_ON_PAPER,
        wash_chance=1.0,
        outline_chance=0.35,
        outline_width=(0.4, 1.0),
        free_line=0.8,
        shading=(0.1, 0.8),
        edge_blur=(0.0, 0.8),
        chiaroscuro_chance=0.03,
        weave_chance=0.05,
        tooth_chance=0.25,
        grain=(0.0, 4.0),
        varnish_chance=0.15,
        margin_chance=0.25,
        subjects=_SHOWN,
    ),
    Family.CUTOUT: Recipe(
        grounds=_CLEAN,
        outline_chance=0.0,
        shading=(0.0, 0.0),
        edge_blur=(0.0, 0.0),
        chiaroscuro_chance=0.0,
        weave_chance=0.05,
        grain=(0.0, 3.0),
        varnish_chance=0.05,
        margin_chance=0.3,
        vivid=1.2,
        subjects=_SIGNS,
    ),
    Family.CARTOON: Recipe(
        grounds=_CLEAN,
        outline_chance=1.0,
        outline_width=(1.2, 4.2),
        free_line=0.15,
        shading=(0.0, 0.25),
        edge_blur=(0.0, 0.0),
        chiaroscuro_chance=0.0,
        weave_chance=0.0,
        grain=(0.0, 1.5),
        varnish_chance=0.03,
        margin_chance=0.2,
        vivid=1.25,
        subjects=_SIGNS,
    ),
    Family.GLOSS: Recipe(
        grounds=_CLEAN,
        outline_chance=0.4,
        outline_width=(0.4, 1.6),
        free_line=0.0,
        shading=(1.0, 2.2),
        edge_blur=(0.0, 0.0),
        chiaroscuro_chance=0.05,
        weave_chance=0.0,
        grain=(0.0, 0.5),
        varnish_chance=0.0,
        margin_chance=0.2,
        vivid=1.1,
        subjects=_SIGNS,
    ),
    Family.PEN: Recipe(
        grounds=_ON_PAPER,
        outline_chance=1.0,
        outline_width=(0.4, 1.5),
        free_line=1.0,
        hatch_chance=0.25,
        wash_chance=0.25,
        fill=(0.0, 0.4),
        shading=(0.0, 0.5),
        edge_blur=(0.0, 0.4),
        chiaroscuro_chance=0.0,
        weave_chance=0.05,
        tooth_chance=0.15,
        grain=(0.0, 5.0),
        varnish_chance=0.2,
        margin_chance=0.2,
        subjects={Subject.WRITING: 0.5},
    ),
    Family.HATCH: Recipe(
        grounds=_ON_PAPER,
        outline_chance=0.6,
        outline_width=(0.4, 1.5),
        free_line=0.4,
        hatch_chance=1.0,
        fill=(0.0, 0.8),
        shading=(0.8, 2.0),
        edge_blur=(0.0, 0.6),
        chiaroscuro_chance=0.25,
        weave_chance=0.0,
        grain=(0.0, 4.0),
        varnish_chance=0.25,
        margin_chance=0.25,
        vivid=0.8,
        subjects={Subject.PORTRAIT: 1.6, Subject.FIGURES: 1.6, Subject.CITY: 1.4, Subject.WRITING: 0.5},
    ),
    Family.PRINT: Recipe(
        grounds={Ground.PAPER: 0.35, Ground.WHITE: 0.2, Ground.SOLID: 0.25, Ground.SCENE: 0.2},
        outline_chance=0.35,
        outline_width=(0.8, 2.6),
        free_line=0.2,
        screen_chance=1.0,
        screen_kinds=(0.5, 0.25, 0.2, 0.05),
        shading=(0.5, 1.5),
        edge_blur=(0.0, 0.6),
        chiaroscuro_chance=0.15,
        weave_chance=0.0,
        grain=(0.0, 4.0),
        varnish_chance=0.1,
        margin_chance=0.3,
        vivid=1.15,
        subjects=_SIGNS,
    ),
    Family.MOSAIC: Recipe(
        grounds={Ground.SCENE: 0.5, Ground.SOLID: 0.3, Ground.DARK: 0.2},
        mosaic_chance=1.0,
        outline_chance=0.15,
        shading=(0.3, 1.2),
        edge_blur=(0.0, 0.5),
        chiaroscuro_chance=0.1,
        weave_chance=0.0,
        grain=(0.0, 4.0),
        varnish_chance=0.15,
        vivid=1.1,
        subjects={Subject.PORTRAIT: 1.6, Subject.SHAPES: 1.5, Subject.EMBLEM: 1.5, Subject.SEA: 1.4},
    ),
}
