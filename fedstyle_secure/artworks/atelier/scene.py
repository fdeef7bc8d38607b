"""A scene before anybody paints it: regions on a sheet, each with a role, and the tools to draw them.

Flows in: shapes in units of the sheet's side. Flows out: a map of numbered regions. Never seen here: colour,
marks, real artworks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int32
from PIL import Image, ImageDraw

__all__ = ["Point", "Role", "Scene", "Sheet", "blob", "smooth"]

Point = tuple[float, float]


class Role(IntEnum):
    """What a region stands for; a painter has a usual colour for each."""

    GROUND = 0
    FAR = 1
    NEAR = 2
    BODY = 3
    LEAF = 4
    SKIN = 5
    DARK = 6
    LIGHT = 7
    ACCENT = 8


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Args:
        regions: number of the region at each place; 0 is the ground.
        roles: the role of each region.
        covers_ground: the scene fills the sheet, so that no bare ground belongs around it.
    """

    regions: Int32[np.ndarray, "tall wide"]
    roles: tuple[Role, ...]
    covers_ground: bool


class Sheet:
    """A square sheet on which regions are drawn, the later over the earlier.

    Places and sizes are shares of the sheet's side.

    Args:
        side_px: side of the sheet in pixels.
    """

    def __init__(self, side_px: int) -> None:
        self.side_px = side_px
        self.covers_ground = False
        self._roles: list[Role] = [Role.GROUND]
        self._image = Image.new("I", (side_px, side_px), 0)
        self._draw = ImageDraw.Draw(self._image)

    def region(self, role: Role) -> int:
        """Open a new region and return its number."""
        self._roles.append(role)
        return len(self._roles) - 1

    def polygon(self, points: Iterable[Point], role: Role) -> None:
        """Fill a polygon."""
        side = self.side_px
        self._draw.polygon([(x * side, y * side) for x, y in points], fill=self.region(role))

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, role: Role) -> None:
        """Fill an ellipse around (x, y)."""
        side = self.side_px
        box = [(x - radius_x) * side, (y - radius_y) * side, (x + radius_x) * side, (y + radius_y) * side]
        self._draw.ellipse(box, fill=self.region(role))

    def box(
        self, left: float, top: float, right: float, bottom: float, role: Role, *, corner: float = 0.0
    ) -> None:
        """Fill a rectangle, its corners rounded by the radius `corner`."""
        side = self.side_px
        left, right = min(left, right), max(left, right)
        top, bottom = min(top, bottom), max(top, bottom)
        corners = [left * side, top * side, right * side, bottom * side]
        self._draw.rounded_rectangle(corners, radius=corner * side, fill=self.region(role))

    def line(self, points: Sequence[Point], width: float, role: Role) -> None:
        """Draw a line of the given width."""
        side = self.side_px
        path = [(x * side, y * side) for x, y in points]
        self._draw.line(path, fill=self.region(role), width=max(1, round(width * side)), joint="curve")

    def fill(self, where: Bool[np.ndarray, "tall wide"], role: Role) -> None:
        """Fill every place where `where` is true."""
        regions = np.array(self._image, dtype=np.int32)
        regions[where] = self.region(role)
        self.replace(regions)

    def replace(self, regions: Int32[np.ndarray, "tall wide"]) -> None:
        """Take a whole map of regions whose numbers were opened with `region`."""
        self._image = Image.fromarray(np.ascontiguousarray(regions, dtype=np.int32))
        self._draw = ImageDraw.Draw(self._image)

    def finish(self) -> Scene:
        """The scene as drawn so far."""
        regions = np.array(self._image, dtype=np.int32)
        return Scene(regions=regions, roles=tuple(self._roles), covers_ground=self.covers_ground)


def blob(
    rng: np.random.Generator,
    x: float,
    y: float,
    radius: float,
    *,
    corners: int,
    uneven: float,
    tall: float = 1.0,
) -> list[Point]:
    """An uneven polygon around (x, y); `uneven` 0 gives a regular one."""
    turn = rng.uniform(0, 2 * np.pi)
    angle = (
        turn
        + np.linspace(0, 2 * np.pi, corners, endpoint=False)
        + uneven * rng.standard_normal(corners) / corners
    )
    reach = radius * np.clip(1 + 0.6 * uneven * rng.standard_normal(corners), 0.3, 1.9)
    return [
        (float(x + r * np.cos(a)), float(y + tall * r * np.sin(a))) for r, a in zip(reach, angle, strict=True)
    ]


def smooth(points: Sequence[Point], *, rounds: int = 2) -> list[Point]:
    """Round the corners of a closed polygon by cutting them (Chaikin's algorithm)."""
    path: Float[np.ndarray, "points 2"] = np.array(points)
    for _ in range(rounds):
        following = np.roll(path, -1, axis=0)
        cut = np.stack([0.75 * path + 0.25 * following, 0.25 * path + 0.75 * following], axis=1)
        path = cut.reshape(-1, 2)
    return [(float(x), float(y)) for x, y in path]
