"""What the steps of a secure sum cost, eight clients, 16-bit values.

    pytest tests/benchmarks/test_secure_aggregation_bench.py --benchmark-only

4,096 values are a style head, 1,000,000 a small model. Sizes of messages stand in the extra info.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import pytest

from fedstyle_secure.secure_aggregation.encoding import SumSettings, SystemRounding, encode
from fedstyle_secure.secure_aggregation.encryption import BfvKey, KeyHolder
from fedstyle_secure.secure_aggregation.in_process import Cohort
from fedstyle_secure.secure_aggregation.masking import PairMask, add_masks
from fedstyle_secure.secure_aggregation.packing import CHECK_WORDS, Layout, pack
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate, EncodedUpdate, PackedUpdate

CLIENTS = 8
NAMES = [f"client {index}" for index in range(CLIENTS)]


@dataclass(frozen=True)
class Case:
    """One size of vector, in the states that the steps start from, block by block."""

    settings: SumSettings
    layout: Layout
    clipped: list[ClippedUpdate]
    encoded: list[EncodedUpdate]
    packed: list[PackedUpdate]


@pytest.fixture(scope="module", params=[4096, 1_000_000], ids=["4096-values", "1M-values"])
def case(request: pytest.FixtureRequest) -> Case:
    """A vector of one size."""
    settings = SumSettings(length=request.param, value_bits=16, value_limit=0.1, cohort_cap=CLIENTS)
    layout = Layout.of(settings)
    vector = 0.02 * np.random.default_rng(0).standard_normal(request.param)
    clipped, encoded, packed = [], [], []
    for block in layout.blocks():
        clipped.append(ClippedUpdate(vector[block.first_value : block.first_value + block.values]))
        encoded.append(encode(clipped[-1], settings, rounding=SystemRounding()))
        check = np.zeros((block.ciphertexts, CHECK_WORDS), np.uint64)
        packed.append(pack(encoded[-1], layout=layout, block=block, check_words=check))
    return Case(settings, layout, clipped, encoded, packed)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Eight clients, ready for uploads."""
    return Cohort.assemble(NAMES)


_ROUNDS = count()


def uploads(cohort: Cohort, case: Case, names: list[str] = NAMES) -> dict[str, bytes]:
    vector = np.concatenate([part.values for part in case.clipped])
    return cohort.upload(dict.fromkeys(names, vector), case.settings, round_number=next(_ROUNDS))


def test_encode(benchmark: Any, case: Case) -> None:
    benchmark(lambda: [encode(part, case.settings, rounding=SystemRounding()) for part in case.clipped])


def test_pack(benchmark: Any, case: Case) -> None:
    check = [np.zeros((block.ciphertexts, CHECK_WORDS), np.uint64) for block in case.layout.blocks()]
    steps = list(zip(case.encoded, case.layout.blocks(), check, strict=True))
    benchmark(
        lambda: [
            pack(part, layout=case.layout, block=block, check_words=words) for part, block, words in steps
        ]
    )


def test_mask_with_seven_peers(benchmark: Any, case: Case) -> None:
    masks = [PairMask(bytes([index]) * 32, adds=index % 2 == 0) for index in range(CLIENTS - 1)]
    steps = list(zip(case.packed, case.layout.blocks(), strict=True))
    benchmark(lambda: [add_masks(part, masks, layout=case.layout, block=block) for part, block in steps])


def test_encrypt(benchmark: Any, case: Case) -> None:
    holder = KeyHolder(case.layout.parameters, BfvKey.generate())
    steps = list(zip(case.packed, case.layout.blocks(), strict=True))
    masked = [add_masks(part, [], layout=case.layout, block=block) for part, block in steps]
    benchmark(lambda: [holder.encrypt(part) for part in masked])


def test_whole_upload_of_one_client(benchmark: Any, cohort: Cohort, case: Case) -> None:
    message = benchmark(lambda: uploads(cohort, case, NAMES[:1]))[NAMES[0]]
    benchmark.extra_info["bytes"] = len(message)
    benchmark.extra_info["bytes_per_value"] = round(len(message) / case.settings.length, 4)


def test_aggregate_eight_uploads(benchmark: Any, cohort: Cohort, case: Case) -> None:
    downloads = benchmark.pedantic(
        cohort.aggregator.handle, setup=lambda: (("upload", uploads(cohort, case)), {}), rounds=5
    )
    message = downloads[NAMES[0]]
    benchmark.extra_info["bytes"] = len(message)
    benchmark.extra_info["bytes_per_value"] = round(len(message) / case.settings.length, 4)


def test_open(benchmark: Any, cohort: Cohort, case: Case) -> None:
    client = cohort.clients[NAMES[0]]

    def fresh_sum() -> tuple[tuple[bytes], dict[str, Any]]:
        return (cohort.aggregator.handle("upload", uploads(cohort, case))[NAMES[0]],), {}

    total = benchmark.pedantic(client.open, setup=fresh_sum, rounds=5)
    assert total.clients == CLIENTS


def test_set_up_a_session_of_eight(benchmark: Any) -> None:
    benchmark(lambda: Cohort.assemble(NAMES))
