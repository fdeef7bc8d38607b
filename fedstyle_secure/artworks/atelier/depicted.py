"""Subjects that show something: land, sea, city, people, things on a table.

Flows in: an empty sheet, the work's random stream, the painter's habits. Flows out: regions on the sheet.
Never seen here: colour, marks.
"""

from __future__ import annotations

import numpy as np

from fedstyle_secure.artworks.atelier.composition import Composition
from fedstyle_secure.artworks.atelier.noise import ridge
from fedstyle_secure.artworks.atelier.scene import Point, Role, Sheet, blob, smooth

__all__ = ["bouquet", "city", "figures", "landscape", "portrait", "sea", "still_life"]

Rng = np.random.Generator
_THINGS = (Role.BODY, Role.LEAF, Role.SKIN, Role.DARK, Role.LIGHT, Role.ACCENT)


def _rounded(points: list[Point], rng: Rng, habits: Composition) -> list[Point]:
    return points if rng.random() < habits.angular else smooth(points)


def _count(rng: Rng, habits: Composition, *, share: float = 1.0, most: int = 30) -> int:
    return int(np.clip(round(share * habits.crowd * np.exp(0.35 * rng.standard_normal())), 1, most))


def _size(rng: Rng, habits: Composition) -> float:
    return float(np.clip(habits.scale * np.exp(0.2 * rng.standard_normal()), 0.2, 1.1))


def _one_of(rng: Rng, *roles: Role) -> Role:
    return Role(int(rng.choice(roles)))


def _below(sheet: Sheet, height: np.ndarray) -> np.ndarray:
    rows = (np.arange(sheet.side_px) / sheet.side_px)[:, None]
    return np.asarray(rows > height[None, :])


def landscape(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """Hills under a sky, with trees, houses and people."""
    sheet.covers_ground = True
    size = _size(rng, habits)
    horizon = float(np.clip(habits.horizon + rng.normal(0, 0.07), 0.15, 0.8))
    if rng.random() < 0.5:
        radius = 0.05 + 0.07 * size
        sheet.ellipse(rng.uniform(0.1, 0.9), horizon * rng.uniform(0.2, 0.8), radius, radius, Role.LIGHT)
    for _ in range(int(rng.integers(0, 4))):
        x, y, reach = rng.uniform(0, 1), horizon * rng.uniform(0.1, 0.7), rng.uniform(0.08, 0.2)
        sheet.polygon(smooth(blob(rng, x, y, reach, corners=8, uneven=0.4, tall=0.35)), Role.FAR)
    layers = int(rng.integers(2, 6))
    for layer in range(layers):
        depth = layer / layers
        rough = 0.08 * (1 - depth) * rng.uniform(0.3, 1.6)
        height = (
            horizon + (1 - horizon) * depth**1.2 + rough * ridge(rng, int(rng.integers(3, 11)), sheet.side_px)
        )
        sheet.fill(_below(sheet, height), (Role.FAR, Role.NEAR, Role.LEAF)[layer % 3])
    for foot in np.sort(rng.uniform(horizon, 1.0, _count(rng, habits, most=22))):
        x, tall = rng.uniform(0, 1), size * 0.3 * (foot - horizon + 0.15)
        kind = rng.random()
        if kind < 0.5:
            _tree(sheet, rng, habits, x=x, foot=foot, tall=tall)
        elif kind < 0.7:
            sheet.polygon(
                [(x - 0.25 * tall, foot), (x + 0.25 * tall, foot), (x, foot - 1.5 * tall)], Role.LEAF
            )
        elif kind < 0.9:
            _house(sheet, x=x, foot=foot, tall=tall)
        else:
            _figure(sheet, rng, habits, x=x, foot=foot, tall=1.1 * tall)


def _tree(sheet: Sheet, rng: Rng, habits: Composition, *, x: float, foot: float, tall: float) -> None:
    sheet.line([(x, foot), (x + 0.1 * tall * rng.standard_normal(), foot - tall)], 0.1 * tall, Role.DARK)
    crown = blob(rng, x, foot - 1.15 * tall, 0.5 * tall, corners=9, uneven=0.35, tall=1.2)
    sheet.polygon(_rounded(crown, rng, habits), Role.LEAF)


def _house(sheet: Sheet, *, x: float, foot: float, tall: float) -> None:
    half = 0.5 * tall
    sheet.box(x - half, foot - 0.6 * tall, x + half, foot, Role.LIGHT)
    sheet.polygon(
        [(x - 0.6 * tall, foot - 0.6 * tall), (x + 0.6 * tall, foot - 0.6 * tall), (x, foot - tall)],
        Role.ACCENT,
    )
    sheet.box(x - 0.1 * tall, foot - 0.3 * tall, x + 0.1 * tall, foot, Role.DARK)


def sea(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """Water in bands, sails, a sun or moon, perhaps a near shore."""
    sheet.covers_ground = True
    size = _size(rng, habits)
    horizon = float(np.clip(habits.horizon + rng.normal(0, 0.06), 0.15, 0.8))
    radius = 0.04 + 0.1 * size * rng.random()
    sheet.ellipse(rng.uniform(0.1, 0.9), horizon * rng.uniform(0.3, 1.0), radius, radius, Role.LIGHT)
    bands = int(rng.integers(3, 9))
    swell = rng.uniform(0.0, 0.03)
    for band in range(bands):
        depth = band / bands
        height = (
            horizon
            + (1 - horizon) * depth**1.5
            + swell * depth * ridge(rng, int(rng.integers(4, 18)), sheet.side_px)
        )
        sheet.fill(_below(sheet, height), (Role.FAR, Role.NEAR)[band % 2])
    for foot in np.sort(
        horizon + (0.9 - horizon) * rng.random(_count(rng, habits, share=0.6, most=10)) ** 1.5
    ):
        tall = size * (0.1 + 0.4 * (foot - horizon))
        _boat(sheet, rng, habits, x=rng.uniform(0.05, 0.95), foot=foot, tall=tall)
    if rng.random() < 0.4:
        shore = rng.uniform(0.8, 0.95) + 0.05 * ridge(rng, 4, sheet.side_px)
        sheet.fill(_below(sheet, shore), Role.BODY)


def _boat(sheet: Sheet, rng: Rng, habits: Composition, *, x: float, foot: float, tall: float) -> None:
    wide = tall * rng.uniform(0.5, 0.9)
    hull = [
        (x - wide, foot - 0.2 * tall),
        (x + wide, foot - 0.2 * tall),
        (x + 0.6 * wide, foot),
        (x - 0.6 * wide, foot),
    ]
    sheet.line([(x, foot - 0.2 * tall), (x, foot - 1.4 * tall)], 0.05 * tall, Role.DARK)
    lean = rng.choice([-1, 1]) * rng.uniform(0.4, 0.8) * wide
    sail = [(x, foot - 1.4 * tall), (x + lean, foot - 0.3 * tall), (x, foot - 0.3 * tall)]
    sheet.polygon(sail, _one_of(rng, Role.LIGHT, Role.ACCENT))
    sheet.polygon(_rounded(hull, rng, habits), Role.DARK)


def city(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """Rows of houses with windows, along a street."""
    sheet.covers_ground = True
    size = _size(rng, habits)
    street = float(np.clip(habits.horizon + 0.3 + rng.normal(0, 0.05), 0.6, 0.95))
    for row, role in enumerate((Role.FAR, Role.BODY)):
        x = -0.05
        while x < 1.0:
            wide = (0.1 + 0.2 * size) * rng.uniform(0.6, 1.3)
            tall = street * rng.uniform(0.45, 0.9) * (1.0 - 0.3 * row)
            roof = street - tall
            wall = _one_of(rng, role, Role.SKIN, Role.LIGHT, Role.LEAF)
            if rng.random() < 0.5:
                sheet.polygon([(x, roof), (x + wide, roof), (x + wide / 2, roof - 0.4 * wide)], Role.ACCENT)
            sheet.box(x, roof, x + wide, street, wall)
            if row:
                _windows(sheet, rng, left=x, roof=roof, wide=wide, street=street)
            x += wide * rng.uniform(0.9, 1.15)
    sheet.box(-0.1, street, 1.1, 1.1, Role.NEAR)
    for _ in range(_count(rng, habits, share=0.3, most=5)):
        x, foot = rng.uniform(0.05, 0.95), rng.uniform(street, 1.02)
        _figure(sheet, rng, habits, x=x, foot=foot, tall=0.12 + 0.2 * size)


def _windows(sheet: Sheet, rng: Rng, *, left: float, roof: float, wide: float, street: float) -> None:
    columns = int(rng.integers(2, 4))
    rows = int(np.clip((street - roof) / (wide / columns) * 0.7, 1, 6))
    step_x, step_y = wide / columns, (street - roof) / rows
    role = _one_of(rng, Role.DARK, Role.LIGHT)
    for row in range(rows):
        for column in range(columns):
            x, y = left + (column + 0.28) * step_x, roof + (row + 0.25) * step_y
            sheet.box(x, y, x + 0.44 * step_x, y + 0.5 * step_y, role)


def portrait(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """One head and shoulders."""
    head = 0.16 + 0.14 * _size(rng, habits)
    x, y = 0.5 + rng.normal(0, 0.05), 0.28 + 0.35 * head + rng.normal(0, 0.03)
    if rng.random() < 0.4:
        left, right = rng.uniform(0.4, 0.8, 2)
        sheet.polygon([(0, left), (1, right), (1, 1), (0, 1)], Role.NEAR)
    wide = head * rng.uniform(1.6, 2.4)
    half = [(-wide, 1.1), (-0.9 * wide, y + 1.9 * head), (-0.3 * head, y + 1.15 * head)]
    coat = [(x + dx, dy) for dx, dy in half] + [(x - dx, dy) for dx, dy in reversed(half)]
    sheet.polygon(_rounded(coat, rng, habits), Role.BODY)
    hair = blob(rng, x, y - 0.15 * head, head * rng.uniform(0.95, 1.15), corners=11, uneven=0.15, tall=1.15)
    sheet.polygon(_rounded(hair, rng, habits), Role.DARK)
    neck = [
        (x - 0.3 * head, y),
        (x + 0.3 * head, y),
        (x + 0.35 * head, y + 1.5 * head),
        (x - 0.35 * head, y + 1.5 * head),
    ]
    sheet.polygon(neck, Role.SKIN)
    face = blob(rng, x, y, 0.85 * head, corners=12, uneven=0.04, tall=1.2)
    sheet.polygon(_rounded(face, rng, habits), Role.SKIN)
    _face(sheet, x + 0.15 * head * rng.standard_normal(), y, head)
    if rng.random() < 0.3:
        sheet.ellipse(x, y - 0.85 * head, 1.25 * head, 0.4 * head, Role.ACCENT)


def _face(sheet: Sheet, x: float, y: float, head: float) -> None:
    for side in (-1, 1):
        eye = x + 0.3 * side * head
        sheet.ellipse(eye, y - 0.12 * head, 0.14 * head, 0.08 * head, Role.LIGHT)
        sheet.ellipse(eye, y - 0.12 * head, 0.06 * head, 0.06 * head, Role.DARK)
        brow = [(x + 0.15 * side * head, y - 0.32 * head), (x + 0.48 * side * head, y - 0.3 * head)]
        sheet.line(brow, 0.07 * head, Role.DARK)
    nose = [(x, y - 0.1 * head), (x + 0.1 * head, y + 0.25 * head), (x - 0.04 * head, y + 0.28 * head)]
    sheet.line(nose, 0.06 * head, Role.BODY)
    sheet.ellipse(x, y + 0.52 * head, 0.24 * head, 0.08 * head, Role.ACCENT)


def figures(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """People standing, alone or in a group."""
    if rng.random() < 0.7:
        floor = rng.uniform(0.45, 0.75)
        sheet.polygon([(0, floor), (1, floor + rng.normal(0, 0.03)), (1, 1), (0, 1)], Role.NEAR)
    size = _size(rng, habits)
    for foot in np.sort(rng.uniform(0.75, 1.05, _count(rng, habits, share=0.5, most=8))):
        tall = foot * (0.35 + 0.6 * size)
        _figure(sheet, rng, habits, x=rng.uniform(0.15, 0.85), foot=foot, tall=tall)


def _figure(sheet: Sheet, rng: Rng, habits: Composition, *, x: float, foot: float, tall: float) -> None:
    head, half = 0.085 * tall, tall * rng.uniform(0.09, 0.15)
    lean, hip, shoulder = 0.05 * tall * rng.standard_normal(), foot - 0.46 * tall, foot - 0.83 * tall
    if rng.random() < 0.5:
        for side in (-1, 1):
            knee = (x + side * half * rng.uniform(0.3, 0.9), foot - 0.22 * tall)
            sheet.line(
                [
                    (x + 0.4 * side * half, hip - 0.02 * tall),
                    knee,
                    (x + side * half * rng.uniform(0.2, 1.1), foot),
                ],
                0.06 * tall,
                Role.DARK,
            )
        hem, flare = hip, 1.0
    else:
        hem, flare = foot - 0.02 * tall, 1.6
    trunk = [
        (x - flare * half, hem),
        (x + flare * half, hem),
        (x + lean + 0.8 * half, shoulder),
        (x + lean - 0.8 * half, shoulder),
    ]
    sheet.polygon(_rounded(trunk, rng, habits), _one_of(rng, Role.BODY, Role.ACCENT, Role.LEAF))
    for side in (-1, 1):
        hand = (x + side * half * rng.uniform(0.4, 2.2), foot - tall * rng.uniform(0.4, 0.9))
        elbow = (x + side * half * rng.uniform(1.0, 1.8), foot - tall * rng.uniform(0.5, 0.72))
        sheet.line(
            [(x + lean + 0.75 * side * half, shoulder + 0.03 * tall), elbow, hand], 0.05 * tall, Role.SKIN
        )
    top = foot - tall
    sheet.ellipse(x + lean, top + 1.2 * head, 0.8 * head, head, Role.SKIN)
    sheet.ellipse(x + lean, top + 0.7 * head, 0.85 * head, 0.6 * head, Role.DARK)


def still_life(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """Fruit, jugs and bowls on a table."""
    table = rng.uniform(0.45, 0.7)
    sheet.polygon([(0, table), (1, table + rng.normal(0, 0.04)), (1, 1), (0, 1)], Role.NEAR)
    size = _size(rng, habits)
    for y in np.sort(rng.uniform(table, 0.92, _count(rng, habits, most=14))):
        x, reach = rng.uniform(0.1, 0.9), size * 0.16 * np.exp(0.3 * rng.standard_normal())
        kind, role = rng.random(), _one_of(rng, *_THINGS)
        if kind < 0.5:
            fruit = blob(rng, x, y - reach, reach, corners=9, uneven=0.08, tall=rng.uniform(0.85, 1.1))
            sheet.polygon(_rounded(fruit, rng, habits), role)
        elif kind < 0.8:
            _jug(sheet, rng, habits, role, x=x, foot=y, reach=reach)
        else:
            bowl = [
                (x - 1.6 * reach, y - reach),
                (x + 1.6 * reach, y - reach),
                (x + 0.7 * reach, y),
                (x - 0.7 * reach, y),
            ]
            for _ in range(int(rng.integers(2, 6))):
                sheet.ellipse(
                    x + reach * rng.uniform(-1, 1),
                    y - 1.2 * reach,
                    0.45 * reach,
                    0.45 * reach,
                    _one_of(rng, *_THINGS),
                )
            sheet.polygon(_rounded(bowl, rng, habits), role)


def _jug(
    sheet: Sheet, rng: Rng, habits: Composition, role: Role, *, x: float, foot: float, reach: float
) -> None:
    tall, neck = reach * rng.uniform(2.2, 3.4), reach * rng.uniform(0.25, 0.5)
    half = [(0.6 * reach, 0.0), (reach, -0.35 * tall), (neck, -0.75 * tall), (1.3 * neck, -tall)]
    outline = [(x + dx, foot + dy) for dx, dy in half] + [(x - dx, foot + dy) for dx, dy in reversed(half)]
    sheet.polygon(_rounded(outline, rng, habits), role)
    sheet.ellipse(x, foot - tall, 1.3 * neck, 0.3 * neck, Role.DARK)


def bouquet(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """Flowers in a vase, seen close."""
    size = _size(rng, habits)
    x, rim = 0.5 + rng.normal(0, 0.06), rng.uniform(0.55, 0.72)
    if rng.random() < 0.6:
        table = rng.uniform(0.72, 0.88)
        sheet.box(-0.1, table, 1.1, 1.1, Role.NEAR)
    spread = 0.14 + 0.2 * size
    petals = int(rng.integers(4, 8))
    heads = [
        (x + spread * rng.normal(0, 0.8), rim - 0.12 - spread * rng.uniform(0.2, 1.5))
        for _ in range(_count(rng, habits, most=14) + 2)
    ]
    for head_x, head_y in heads:
        sheet.line(
            [
                (x, rim),
                ((x + head_x) / 2 + 0.03 * rng.standard_normal(), (rim + head_y) / 2),
                (head_x, head_y),
            ],
            0.012,
            Role.LEAF,
        )
    for head_x, head_y in heads:
        reach = (0.04 + 0.06 * size) * np.exp(0.25 * rng.standard_normal())
        role = _one_of(rng, Role.ACCENT, Role.LIGHT, Role.SKIN, Role.BODY)
        for angle in rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, petals, endpoint=False):
            sheet.ellipse(
                head_x + 0.65 * reach * np.cos(angle),
                head_y + 0.65 * reach * np.sin(angle),
                0.45 * reach,
                0.45 * reach,
                role,
            )
        sheet.ellipse(head_x, head_y, 0.35 * reach, 0.35 * reach, Role.DARK)
    _jug(sheet, rng, habits, Role.BODY, x=x, foot=rng.uniform(0.9, 0.98), reach=0.1 + 0.07 * size)
