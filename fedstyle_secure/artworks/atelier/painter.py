"""A painter: everything that stays the same from one work to the next, drawn once from a seed.

Flows in: a random stream and a family of marks. Flows out: a `Painter`, plain data. Never seen here:
pictures.

What varies between painters and what within one follows what public pretraining was measured to need: marks
and colour belong to the painter; content is new in every work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedstyle_secure.artworks.atelier.colour import Lab, Palette, sample_palette
from fedstyle_secure.artworks.atelier.composition import Composition, sample_composition
from fedstyle_secure.artworks.atelier.drawing import Hatching, Outline
from fedstyle_secure.artworks.atelier.families import RECIPES, Family, Ground, Recipe, Span
from fedstyle_secure.artworks.atelier.printing import Mosaic, Screen, ScreenKind, Wash
from fedstyle_secure.artworks.atelier.strokes import Flow, Strokes
from fedstyle_secure.artworks.atelier.surface import Finish, Surface

__all__ = ["Light", "Painter", "sample_painter"]


@dataclass(frozen=True)
class Light:
    """How a painter models form.

    Args:
        shading: strength of the modelling inside a region.
        softness: reach of that modelling, 128ths of the side.
        angle_radians: where light comes from.
        fall: lightness lost from one end of the picture to the other.
        chiaroscuro: how dark it gets away from the lit spot, 0..1.
        edge_blur: softness of edges, 128ths of the side.
    """

    shading: float
    softness: float
    angle_radians: float
    fall: float
    chiaroscuro: float
    edge_blur: float


@dataclass(frozen=True)
class Painter:
    """One painter. A mark that the painter does not use is None.

    Args:
        family: the mark that dominates.
        palette: colours and their habits.
        composition: subjects and how they are arranged.
        ground: what lies behind things.
        ground_colour: Lab colour of a solid ground or of the paper.
        fill: how full colours are laid in; 0 leaves paper.
        light: modelling.
        strokes: brush.
        outline: contour.
        hatching: shading by lines.
        screen: printing.
        wash: wet paint.
        mosaic: tiles.
        surface: materials.
        finish: last touches.
    """

    family: Family
    palette: Palette
    composition: Composition
    ground: Ground
    ground_colour: Lab
    fill: float
    light: Light
    strokes: Strokes | None
    outline: Outline | None
    hatching: Hatching | None
    screen: Screen | None
    wash: Wash | None
    mosaic: Mosaic | None
    surface: Surface
    finish: Finish


def sample_painter(rng: np.random.Generator, family: Family) -> Painter:
    """Invent a painter.

    Args:
        rng: the painter's stream.
        family: the mark that shall dominate.

    Returns:
        A painter whose traits are drawn from the family's ranges.
    """
    recipe = RECIPES[family]
    palette = sample_palette(rng, vivid=recipe.vivid)
    grounds = list(recipe.grounds)
    weights = np.array([recipe.grounds[ground] for ground in grounds])
    ground = grounds[int(rng.choice(len(grounds), p=weights / weights.sum()))]
    rough = bool(rng.random() < recipe.tooth_chance)
    paper = _paper(rng, lightest=96, darkest=40.0) if rough else _paper(rng)
    ink = _ink(rng, palette)
    line = ink if rng.random() < 0.8 else _ink(rng, palette)
    return Painter(
        family=family,
        palette=palette,
        composition=sample_composition(rng, subject_bias=recipe.subjects, margin_chance=recipe.margin_chance),
        ground=ground,
        ground_colour=_ground_colour(
            rng, Ground.PAPER if rough and ground is Ground.WHITE else ground, palette, paper
        ),
        fill=_within(rng, recipe.fill),
        light=_light(rng, recipe),
        strokes=_strokes(rng, recipe) if rng.random() < recipe.stroke_chance else None,
        outline=_outline(rng, recipe, line) if rng.random() < recipe.outline_chance else None,
        hatching=_hatching(rng, ink) if rng.random() < recipe.hatch_chance else None,
        screen=_screen(rng, recipe, ink) if rng.random() < recipe.screen_chance else None,
        wash=_wash(rng, paper) if rng.random() < recipe.wash_chance else None,
        mosaic=_mosaic(rng, ink) if rng.random() < recipe.mosaic_chance else None,
        surface=_surface(rng, recipe, paper, rough=rough),
        finish=_finish(rng, recipe),
    )


def _within(rng: np.random.Generator, span: Span) -> float:
    return float(rng.uniform(*span))


def _log_within(rng: np.random.Generator, span: Span) -> float:
    return float(np.exp(rng.uniform(np.log(span[0]), np.log(span[1]))))


def _paper(rng: np.random.Generator, *, darkest: float = 84.0, lightest: float = 98.0) -> Lab:
    return _within(rng, (darkest, lightest)), float(rng.normal(0.5, 1.5)), float(abs(rng.normal(4, 5)))


def _ink(rng: np.random.Generator, palette: Palette) -> Lab:
    if rng.random() < 0.6:
        return float(rng.choice([4.0, 14.0, 28.0])), 0.0, 0.0
    lightness, a, b = min(palette.colours)
    return min(lightness, 38.0), a, b


def _ground_colour(rng: np.random.Generator, ground: Ground, palette: Palette, paper: Lab) -> Lab:
    if ground is Ground.WHITE:
        return 98.0, 0.0, 0.5
    if ground is Ground.PAPER:
        return paper
    if ground is Ground.DARK:
        return float(rng.uniform(8, 22)), float(rng.normal(2, 3)), float(rng.normal(4, 5))
    return palette.colours[int(rng.integers(len(palette.colours)))]


def _light(rng: np.random.Generator, recipe: Recipe) -> Light:
    return Light(
        shading=_within(rng, recipe.shading),
        softness=_within(rng, (2.0, 14.0)),
        angle_radians=_within(rng, (0.0, 2 * math.pi)),
        fall=_within(rng, (5.0, 28.0)) if recipe.shading[1] and rng.random() < 0.5 else 0.0,
        chiaroscuro=_within(rng, (0.25, 0.95)) if rng.random() < recipe.chiaroscuro_chance else 0.0,
        edge_blur=_within(rng, recipe.edge_blur),
    )


def _strokes(rng: np.random.Generator, recipe: Recipe) -> Strokes:
    return Strokes(
        length=_log_within(rng, recipe.stroke_length),
        width=_log_within(rng, recipe.stroke_width),
        cover=_within(rng, recipe.stroke_cover),
        flow=list(Flow)[int(rng.choice(len(Flow), p=[0.33, 0.16, 0.1, 0.2, 0.13, 0.08]))],
        angle_radians=_within(rng, (0.0, math.pi)),
        looseness=_within(rng, (0.03, 0.4)),
        curve=_within(rng, (0.0, 0.6)),
        bristles=int(rng.integers(2, 5)) if rng.random() < recipe.bristle_chance else 1,
        lightness_jitter=_log_within(rng, recipe.stroke_jitter),
        colour_jitter=float(abs(rng.normal(0, 8))),
        follows_edges=_within(rng, (0.0, 1.5)),
        dots=bool(rng.random() < recipe.dot_chance),
        blurred_ground=bool(rng.random() < 0.5),
    )


def _outline(rng: np.random.Generator, recipe: Recipe, colour: Lab) -> Outline:
    free = recipe.free_line * rng.random()
    return Outline(
        width=_log_within(rng, recipe.outline_width),
        colour=colour,
        uneven=float(0.6 * free),
        wander=float(1.6 * free) if free > 0.15 else 0.0,
        passes=int(rng.integers(1, 4)) if free > 0.4 else 1,
    )


def _hatching(rng: np.random.Generator, colour: Lab) -> Hatching:
    return Hatching(
        spacing=_log_within(rng, (2.2, 7.0)),
        angle_radians=_within(rng, (0.0, math.pi)),
        layers=int(rng.integers(1, 4)),
        weight=_within(rng, (0.25, 0.65)),
        wobble=_within(rng, (0.0, 0.8)),
        colour=colour,
        light_on_dark=bool(rng.random() < 0.15),
    )


def _screen(rng: np.random.Generator, recipe: Recipe, ink: Lab) -> Screen:
    return Screen(
        kind=list(ScreenKind)[int(rng.choice(len(ScreenKind), p=recipe.screen_kinds))],
        spacing=_log_within(rng, (3.0, 8.0)),
        angle_radians=_within(rng, (0.0, math.pi)),
        levels=int(rng.integers(3, 7)),
        strength=_within(rng, (0.5, 1.0)),
        ink=ink,
        shift=_within(rng, (1.0, 3.0)) if rng.random() < 0.3 else 0.0,
    )


def _wash(rng: np.random.Generator, paper: Lab) -> Wash:
    return Wash(
        paper=paper,
        strength=_within(rng, (0.3, 0.9)),
        pooling=_within(rng, (0.1, 1.2)),
        bleed=_within(rng, (0.8, 5.0)),
        fray=_within(rng, (0.2, 2.5)),
        granulation=_within(rng, (0.0, 0.3)),
    )


def _mosaic(rng: np.random.Generator, ink: Lab) -> Mosaic:
    return Mosaic(
        tile=_log_within(rng, (5.0, 11.0)),
        broken=_within(rng, (0.0, 1.0)),
        grout=_within(rng, (0.06, 0.2)),
        colour=ink if rng.random() < 0.6 else _paper(rng),
        lightness_jitter=_within(rng, (2.0, 20.0)),
    )


def _surface(rng: np.random.Generator, recipe: Recipe, paper: Lab, *, rough: bool) -> Surface:
    return Surface(
        relief=_within(rng, (0.3, 1.4)) if rng.random() < recipe.relief_chance else 0.0,
        light_radians=_within(rng, (0.0, 2 * math.pi)),
        weave=_within(rng, (2.0, 9.0)) if rng.random() < recipe.weave_chance else 0.0,
        weave_spacing=_within(rng, (2.3, 5.0)),
        tooth=_within(rng, (0.35, 0.95)) if rough else 0.0,
        paper=paper,
        grain=_within(rng, recipe.grain),
        grain_size=float(rng.choice([0.0, 0.6, 1.2])),
    )


def _finish(rng: np.random.Generator, recipe: Recipe) -> Finish:
    clean = recipe.edge_blur[1] == 0.0
    return Finish(
        gamma=1.0 if clean else _within(rng, (0.75, 1.3)),
        contrast=1.0 if clean else _within(rng, (0.8, 1.25)),
        varnish=_within(rng, (3.0, 16.0)) if rng.random() < recipe.varnish_chance else 0.0,
        blur=_within(rng, (0.2, 1.1)) if rng.random() < 0.3 else 0.0,
        sharpen=_within(rng, (0.3, 1.3)) if rng.random() < 0.25 else 0.0,
    )
