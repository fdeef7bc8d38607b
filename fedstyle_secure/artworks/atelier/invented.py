"""Subjects that show nothing but themselves: shapes, fields, shards, patterns, emblems, writing.

Flows in: an empty sheet, the work's random stream, the painter's habits. Flows out: regions on the sheet.
Never seen here: colour, marks.
"""

from __future__ import annotations

import numpy as np

from fedstyle_secure.artworks.atelier.composition import Composition
from fedstyle_secure.artworks.atelier.noise import cloud
from fedstyle_secure.artworks.atelier.scene import Role, Sheet, blob, smooth

__all__ = ["emblem", "fields", "pattern", "shapes", "shards", "writing"]

Rng = np.random.Generator
_ANY = tuple(role for role in Role if role is not Role.GROUND)


def _any_role(rng: Rng) -> Role:
    return _ANY[int(rng.integers(len(_ANY)))]


def _count(rng: Rng, habits: Composition, *, most: int) -> int:
    return int(np.clip(round(habits.crowd * np.exp(0.35 * rng.standard_normal())), 2, most))


def shapes(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """Polygons, discs, bows and bars scattered over the sheet."""
    count = _count(rng, habits, most=30)
    for _ in range(count):
        x, y = rng.uniform(0.08, 0.92, 2)
        reach = habits.scale * 0.55 * np.exp(0.5 * rng.standard_normal()) / np.sqrt(count)
        kind, role = rng.random(), _any_role(rng)
        if kind < 0.25 + 0.35 * habits.angular:
            sheet.polygon(
                blob(rng, x, y, reach, corners=int(rng.integers(3, 7)), uneven=0.2, tall=rng.uniform(0.4, 1)),
                role,
            )
        elif kind < 0.8:
            corners = int(rng.integers(5, 10))
            sheet.polygon(
                smooth(blob(rng, x, y, reach, corners=corners, uneven=rng.choice([0.0, 0.5]))), role
            )
        else:
            step = 1.5 * reach * rng.standard_normal(2)
            bend = 0.3 * reach * rng.standard_normal(2)
            path = [
                (x, y),
                (x + step[0] / 2 + bend[0], y + step[1] / 2 + bend[1]),
                (x + step[0], y + step[1]),
            ]
            sheet.line(path, rng.uniform(0.015, 0.06), role)


def fields(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """Cloudy fields that fill the sheet."""
    sheet.covers_ground = True
    height = cloud(rng, max(2.0, 3.0 / habits.scale), sheet.side_px, octaves=2)
    levels = np.quantile(height, np.sort(rng.uniform(0.1, 0.95, _count(rng, habits, most=8))))
    numbers = np.digitize(height, levels)
    opened = np.array([0] + [sheet.region(_any_role(rng)) for _ in range(len(levels))], dtype=np.int32)
    sheet.replace(opened[numbers])


def shards(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """The sheet broken into cells around scattered seeds."""
    sheet.covers_ground = True
    count = int(np.clip(3 * habits.crowd, 6, 45))
    seeds, stretch = rng.uniform(0, 1, (count, 2)), rng.uniform(0.5, 2, 2)
    half = sheet.side_px // 2
    axis = ((np.arange(half) + 0.5) / half).astype(np.float32)
    bend = 0.25 * (1 - habits.angular) * cloud(rng, 3.0, half, octaves=1) / count**0.5
    rows, columns = axis[:, None] + bend, axis[None, :] + bend
    nearest = np.zeros((half, half), dtype=np.int32)
    best = np.full((half, half), np.inf, dtype=np.float32)
    for index, (y, x) in enumerate(seeds.astype(np.float32)):
        distance = ((rows - y) * stretch[0]) ** 2 + ((columns - x) * stretch[1]) ** 2
        closer = distance < best
        best[closer] = distance[closer]
        nearest[closer] = index
    opened = np.array([sheet.region(_any_role(rng)) for _ in range(count)], dtype=np.int32)
    sheet.replace(opened[nearest].repeat(2, axis=0).repeat(2, axis=1))


def pattern(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """A motif repeated over the sheet."""
    repeats = int(np.clip(2 / habits.scale + rng.integers(1, 4), 2, 7))
    offset_rows = rng.random() < 0.4
    motif = [
        (
            rng.uniform(-0.3, 0.3, 2),
            rng.uniform(0.15, 0.42),
            _any_role(rng),
            rng.random(),
            int(rng.integers(3, 7)),
        )
        for _ in range(int(rng.integers(1, 4)))
    ]
    turn = rng.uniform(0, np.pi)
    for row in range(-1, repeats + 1):
        for column in range(-1, repeats + 1):
            shift = 0.5 if offset_rows and row % 2 else 0.0
            for place, reach, role, kind, corners in motif:
                x, y = (column + 0.5 + shift + place[0]) / repeats, (row + 0.5 + place[1]) / repeats
                size = reach / repeats
                if kind < 0.45 * (1 - habits.angular) + 0.1:
                    sheet.ellipse(x, y, size, size, role)
                elif kind < 0.8:
                    angles = turn + np.linspace(0, 2 * np.pi, corners, endpoint=False)
                    sheet.polygon([(x + size * np.cos(a), y + size * np.sin(a)) for a in angles], role)
                else:
                    sheet.line(
                        [(x - size, y), (x + size, y + size * (corners - 4))], 0.15 * size + 0.01, role
                    )


def emblem(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """One sign in the middle, built of a few parts."""
    size = 0.2 + 0.2 * habits.scale
    for part in range(int(rng.integers(3, 8))):
        x, y = 0.5 + 0.4 * size * rng.standard_normal(2)
        reach = size * np.exp(-0.25 * part) * rng.uniform(0.5, 1)
        kind, role = rng.random(), _any_role(rng)
        twin = rng.random() < 0.4
        for centre in (x, 1 - x) if twin else (x,):
            if kind < 0.3:
                sheet.ellipse(centre, y, reach, reach * rng.uniform(0.5, 1), role)
            elif kind < 0.55:
                corner = 0.0 if habits.angular > 0.5 else 0.3 * reach
                sheet.box(
                    centre - reach, y - 0.6 * reach, centre + reach, y + 0.6 * reach, role, corner=corner
                )
            elif kind < 0.85:
                outline = blob(rng, centre, y, reach, corners=7, uneven=0.35)
                sheet.polygon(outline if habits.angular > 0.5 else smooth(outline), role)
            else:
                sheet.line(
                    [(centre, y), tuple(np.array([centre, y]) + reach * rng.standard_normal(2))],
                    rng.uniform(0.03, 0.08),
                    role,
                )


def writing(sheet: Sheet, rng: Rng, habits: Composition) -> None:
    """Lines of invented characters."""
    tall = max(0.07, habits.scale * rng.uniform(0.08, 0.16))
    top = 0.07
    while top + tall < 0.96:
        left = 0.08 + rng.uniform(0, 0.1)
        while left + 0.7 * tall < 0.94:
            for _ in range(int(rng.integers(1, 3))):
                points = np.array([left, top]) + rng.uniform(0, 1, (int(rng.integers(2, 5)), 2)) * [
                    0.7 * tall,
                    tall,
                ]
                path = [(float(x), float(y)) for x, y in points]
                sheet.line(path, 0.13 * tall, Role.DARK if rng.random() < 0.8 else Role.ACCENT)
            left += 0.95 * tall * (2 if rng.random() < 0.15 else 1)
        top += 1.6 * tall
