"""A run's result in plain text.

Flows in: the result as JSON. Flows out: what `run` and `demo` print.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedstyle_secure.cli.page import QUALITY_ROWS, readable_bytes

__all__ = ["summary"]


def summary(result: Mapping[str, Any]) -> str:
    """Put the guarantee, the costs and the quality of a run into a few lines."""
    guarantee, totals = result["guarantee"], result["totals"]
    lines = [
        "What is promised",
        f"  {guarantee['plain']}",
        f"  Exactly: {guarantee['exact']}",
        f"  Not covered: {guarantee['not_covered']}",
        "",
        "What it cost",
        f"  each artist sent {readable_bytes(totals['bytes_up_per_artist'])} and received "
        f"{readable_bytes(totals['bytes_down_per_artist'])}; all exchanges took {totals['seconds']:.1f} s",
    ]
    if "quality" in result:
        lines += ["", "How well held-out works find their artist", *_quality(result["quality"])]
        lines += [f"  {result['evaluation_note']}"]
    return "\n".join(lines)


def _quality(quality: Mapping[str, Any]) -> list[str]:
    heading = f"  {'':<26} {'first place':>18} {'mean reciprocal rank':>22}"
    rows = []
    for key, label, _ in QUALITY_ROWS:
        score = quality[key]
        error = f" ± {100 * score['macro_top1_se']:.1f}" if score["macro_top1_se"] else " " * 6
        first_place = f"{100 * score['macro_top1']:.1f} %{error}"
        rows.append(f"  {label:<26} {first_place:>18} {score['mrr']:>22.3f}")
    return [heading, *rows]
