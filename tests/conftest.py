"""Fixtures that several test folders share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from fedstyle_secure.policy import Policy, parse_policy

# Everything here is small: several threads would only wait for one another, and tests may run side by side.
torch.set_num_threads(1)

_SMALL_POLICY: Mapping[str, Any] = {
    "version": 1,
    "federation": {"rounds": 3, "cohort": {"minimum": 3, "expected": 4, "colluding": 1}},
    "privacy": {
        "unit": "artwork",
        "neighbouring": "add_or_remove_one",
        "epsilon": 8.0,
        "delta": 1.0e-5,
        "noise": "local",
        "clip_norm_l2": 1.0,
        "split": {"centre": 0.1, "whiten": 0.0, "train": 0.3, "represent": 0.6},
        "on_overspend": "refuse",
    },
    "secure_aggregation": {
        "backend": "tenseal-bfv",
        "value_bits": 16,
        "masks": "pairwise",
        "reveal_to": "artists",
    },
    "style": {"encoder": "colour-texture", "embedding_size": 16},
    "audit": {"threat_models": ["curious_aggregator"], "fail_on": "high"},
}


def _set(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *path, last = dotted.split(".")
    for key in path:
        tree = tree.setdefault(key, {})
    tree[last] = value


@pytest.fixture
def policy_text() -> Callable[..., str]:
    """Make a small policy's text; keyword arguments are dotted keys with `__` for the dot."""

    def make(**changes: Any) -> str:
        tree = copy.deepcopy(dict(_SMALL_POLICY))
        for key, value in changes.items():
            _set(tree, key.replace("__", "."), value)
        return yaml.safe_dump(tree)

    return make


@pytest.fixture
def policy(policy_text: Callable[..., str]) -> Callable[..., Policy]:
    """Make a small policy; keyword arguments are dotted keys with `__` for the dot."""
    return lambda **changes: parse_policy(policy_text(**changes), source="test policy")


@pytest.fixture
def features() -> Callable[..., dict[str, np.ndarray]]:
    """Make artists whose features form clusters: artist k scatters around a direction of its own."""

    def make(*, artists: int = 4, works: int = 12, size: int = 16, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        directions = rng.standard_normal((artists, size))
        return {
            f"artist-{k}": 0.3 * rng.standard_normal((works, size))
            + directions[k] / np.linalg.norm(directions[k])
            for k in range(artists)
        }

    return make


@pytest.fixture
def shared_artworks() -> Path:
    """The folder of real artworks beside the checkout; tests that need it are skipped where it is missing."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "artworks"
    if not folder.is_dir():
        pytest.skip(
            "no ../shared/artworks beside this checkout: real art to measure on is not part of the project"
        )
    return folder
