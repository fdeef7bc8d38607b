"""The benchmark command: what it prints, that sums are exact, and what it says without its peer."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "secure_aggregation.py"
ROLES = ("client", "aggregator", "open")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
def test_it_prints_bytes_times_memory_and_every_stage() -> None:
    done = run("--params", "20000", "--clients", "5", "--drop", "1", "--rounds", "2", "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["exact"] is True
    assert "ratios" not in result  # of what, without a peer
    # 48 bits for two values, seeds, tags and everything else that a client sends for a sum.
    assert 3.0 < result["bytes_per_parameter"]["up"] < 3.1
    assert 6.5 < result["bytes_per_parameter"]["down"] < 8.0
    for party in ("ours", "plain"):
        medians = result["medians"][party]
        assert set(medians["seconds"]) == set(medians["memory_mib"]) == set(ROLES)
        assert all(seconds > 0 for seconds in medians["seconds"].values())
    stages = result["protocol"]["stages"]
    assert [*stages][:3] == ["advertise", "share", "agree"]
    assert [*stages][-4:] == ["upload", "confirm", "unmask", "open"]
    sent = sum(stages[name]["bytes_up"] for name in ("upload", "confirm", "unmask"))
    assert sent == result["medians"]["ours"]["bytes_up"]
    assert result["medians"]["plain"]["bytes_up"] == 4 * 20000 + 128  # a .npy file
    assert len(result["raw"]) == 2


@pytest.mark.slow
def test_it_prints_a_table_for_people() -> None:
    done = run("--params", "1000", "--clients", "2", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    for words in ("exact: yes", "bytes a parameter, up", "unmask", "in the clear"):
        assert words in done.stdout


@pytest.mark.skipif(importlib.util.find_spec("nvflare") is not None, reason="NVFlare is installed here")
def test_without_nvflare_the_comparison_says_what_to_install() -> None:
    done = run("--peer", "nvflare")
    assert done.returncode != 0
    assert "pip install nvflare" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--clients", "1"],
        ["--value-bits", "4"],
        ["--clients", "4", "--drop", "2"],
        ["--colluding", "8"],
        ["--peer", "nobody"],
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
