"""What splitting and combining secrets costs, for 2 and for 40 secrets of 32 bytes at once, and planning.

pytest tests/benchmarks/test_secret_sharing_bench.py --benchmark-only
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from fedstyle_secure.secure_aggregation.neighbours import SharingPlan, _smallest_graph
from fedstyle_secure.secure_aggregation.secret_sharing import SECRET_BYTES, combine, split

SIZES = pytest.mark.parametrize(
    ("holders", "threshold"), [(8, 5), (32, 20), (150, 60)], ids=["5-of-8", "20-of-32", "60-of-150"]
)
SECRETS = pytest.mark.parametrize("count", [2, 40], ids=["2-secrets", "40-secrets"])


def random_secrets(count: int) -> np.ndarray:
    return np.frombuffer(os.urandom(count * SECRET_BYTES), np.uint8).reshape(count, SECRET_BYTES)


@SIZES
@SECRETS
def test_split(benchmark: Any, holders: int, threshold: int, count: int) -> None:
    benchmark(split, random_secrets(count), holders=holders, threshold=threshold)


@SIZES
@SECRETS
def test_combine(benchmark: Any, holders: int, threshold: int, count: int) -> None:
    shares = split(random_secrets(count), holders=holders, threshold=threshold)
    chosen = [int(holder) for holder in np.random.default_rng(0).permutation(holders)[:threshold]]
    benchmark(combine, shares[chosen], holders=chosen)


@pytest.mark.parametrize("clients", [64, 1024])
def test_plan_a_sparse_graph(benchmark: Any, clients: int) -> None:
    def plan() -> SharingPlan:
        _smallest_graph.cache_clear()
        return SharingPlan.of(clients, minimum=clients // 10 + 1, colluding=clients // 10)

    benchmark(plan)
