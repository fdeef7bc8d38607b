"""The HTML page of a run: one file, no network, no script.

Flows in: the result of a run as JSON, and example searches with their pictures. Flows out: HTML text. It is
a pure rendering: nothing is computed here that the result does not say.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from fedstyle_secure.privacy.guarantee import round_up

__all__ = ["QUALITY_ROWS", "ExampleMatch", "ExampleSearch", "readable_bytes", "render_page"]

Pixels = UInt8[np.ndarray, "height width 3"]

QUALITY_ROWS = (
    ("private", "Private run", "noised, aggregated blindly, as promised above"),
    ("without_noise", "Same run without noise", "for comparison only; not private"),
    ("frozen", "Frozen public features", "no training, no noise; not private"),
    ("colour", "Colour alone", "no training, no noise; not private"),
    ("chance", "Chance", "guessing"),
)


@dataclass(frozen=True)
class ExampleMatch:
    """An artist that a search found, shown by one of the artist's works."""

    artist: str
    score: float
    picture: Pixels


@dataclass(frozen=True)
class ExampleSearch:
    """A search with a held-out work, and what it found, best first."""

    artist: str
    file: str
    picture: Pixels
    matches: tuple[ExampleMatch, ...]


def render_page(
    result: Mapping[str, Any], *, title: str, searches: Sequence[ExampleSearch], pictures_of_artworks: bool
) -> str:
    """Render the page of a run.

    Args:
        result: what `run --json` prints.
        title: heading of the page.
        searches: example searches; may be empty.
        pictures_of_artworks: the pictures show people's works, so the page carries a banner that says so.

    Returns:
        A self-contained HTML document.
    """
    environment = Environment(
        loader=PackageLoader("fedstyle_secure.cli"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["bytes"] = readable_bytes
    environment.filters["round_up"] = round_up
    quality = result.get("quality")
    return environment.get_template("run.html.j2").render(
        result={"quality": None, "notices": [], **result},
        title=title,
        splits=result.get("evaluation_splits"),
        quality_rows=[
            {"label": label, "note": note, "score": quality[key], "main": key == "private"}
            for key, label, note in QUALITY_ROWS
        ]
        if quality
        else [],
        searches=[_search_for_template(search) for search in searches],
        pictures_of_artworks=pictures_of_artworks,
        chart=_epsilon_chart(result),
    )


def readable_bytes(count: int) -> str:
    """Bytes with a decimal unit, for people."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _search_for_template(search: ExampleSearch) -> Mapping[str, Any]:
    return {
        "query": {"artist": search.artist, "image": _data_uri(search.picture)},
        "matches": [
            {"artist": match.artist, "score": match.score, "image": _data_uri(match.picture)}
            for match in search.matches
        ],
    }


def _data_uri(picture: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _epsilon_chart(result: Mapping[str, Any]) -> Mapping[str, Any]:
    width, height, left, bottom, top = 760, 240, 44, 34, 22
    exchanges = result["exchanges"]
    spent = [exchange["epsilon_so_far"] for exchange in exchanges]
    limit = result["policy_epsilon"]
    highest = max([limit, *spent]) * 1.08

    def x(place: int) -> float:
        return round(left + (width - left - 10) * place / len(spent), 1)

    def y(epsilon: float) -> float:
        return float(round(height - bottom - (height - bottom - top) * epsilon / highest, 1))

    first_of_stage = {
        exchange["stage"]: place for place, exchange in reversed(list(enumerate(exchanges, start=1)))
    }
    return {
        "width": width,
        "height": height,
        "left": left,
        "first": spent[0],
        "last": spent[-1],
        "limit": limit,
        "limit_y": y(limit),
        "ticks": [{"y": y(limit * part / 4), "label": f"{limit * part / 4:g}"} for part in range(5)],
        "points": " ".join(f"{x(place)},{y(epsilon)}" for place, epsilon in enumerate([0.0, *spent])),
        "marks": [
            {"x": left, "label": "start", "anchor": "start"},
            *(
                {"x": x(place), "label": stage, "anchor": "end" if place == len(spent) else "start"}
                for stage, place in first_of_stage.items()
                if stage in ("train", "represent")
            ),
        ],
    }
