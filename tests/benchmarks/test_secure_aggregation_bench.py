"""What the pieces of a secure sum cost: eight clients, 16-bit values.

    pytest tests/benchmarks/test_secure_aggregation_bench.py --benchmark-only

4,096 values are a style head, 1,000,000 a small model. `secure_aggregation.py` beside this file compares
whole sums with another system; this one says where the time goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fedstyle_secure.secure_aggregation.encoding import SumSettings, SystemRounding, encode
from fedstyle_secure.secure_aggregation.encryption import BfvKey, KeyHolder, SealedSum
from fedstyle_secure.secure_aggregation.frames import (
    SumFrame,
    UploadFrame,
    write_sum_block,
    write_sum_head,
    write_upload_block,
    write_upload_head,
)
from fedstyle_secure.secure_aggregation.masking import StreamMask, add_masks, mask_sum
from fedstyle_secure.secure_aggregation.packing import TAG_WORDS, Block, Layout, pack
from fedstyle_secure.secure_aggregation.running_sum import RunningSum
from fedstyle_secure.secure_aggregation.vectors import (
    ClippedUpdate,
    EncodedUpdate,
    EncryptedUpdate,
    MaskedUpdate,
    PackedUpdate,
)

CLIENTS = 8
# A client's own mask and one for each peer.
MASKS = [StreamMask(bytes([index]) * 32, adds=index % 2 == 0) for index in range(CLIENTS)]


@dataclass(frozen=True)
class Case:
    """One size of vector, in all states that a piece starts from, block by block."""

    settings: SumSettings
    layout: Layout
    holder: KeyHolder
    clipped: list[ClippedUpdate]
    encoded: list[EncodedUpdate]
    packed: list[PackedUpdate]
    masked: list[MaskedUpdate]
    encrypted: list[EncryptedUpdate]

    @property
    def blocks(self) -> list[Block]:
        return list(self.layout.blocks())

    @property
    def upload(self) -> bytes:
        parts = [part for block in self.encrypted for part in write_upload_block(block, self.layout)]
        return write_upload_head(self.settings) + b"".join(parts)

    def running_sum(self) -> RunningSum:
        total = RunningSum(self.layout)
        for _ in range(2):
            total.add(UploadFrame(memoryview(self.upload), sender="ana"))
        return total

    def sealed(self) -> list[SealedSum]:
        return [sealed for _, sealed in self.running_sum().sealed_blocks(self.no_masks)]

    def no_masks(self, block: Block) -> np.ndarray:
        return np.zeros((block.ciphertexts, block.coefficients), np.uint64)


@pytest.fixture(scope="module", params=[4096, 1_000_000], ids=["4096-values", "1M-values"])
def case(request: pytest.FixtureRequest) -> Case:
    """A vector of one size."""
    settings = SumSettings(length=request.param, value_bits=16, value_limit=0.1, cohort_cap=16)
    layout = Layout.of(settings)
    holder = KeyHolder(layout.parameters, BfvKey.generate())
    vector = 0.02 * np.random.default_rng(0).standard_normal(request.param, np.float32)
    clipped, encoded, packed, masked = [], [], [], []
    for block in layout.blocks():
        clipped.append(ClippedUpdate(vector[block.first_value : block.first_value + block.values]))
        encoded.append(encode(clipped[-1], settings, rounding=SystemRounding()))
        tag_words = np.zeros((block.ciphertexts, TAG_WORDS), np.uint64)
        packed.append(pack(encoded[-1], layout=layout, block=block, tag_words=tag_words))
        masked.append(add_masks(packed[-1], MASKS, layout=layout, block=block))
    encrypted = [holder.encrypt(part) for part in masked]
    return Case(settings, layout, holder, clipped, encoded, packed, masked, encrypted)


def describe(benchmark: Any, case: Case) -> None:
    """Say how many ciphertexts the time is shared by."""
    benchmark.extra_info["ciphertexts"] = case.layout.ciphertexts


def test_encode(benchmark: Any, case: Case) -> None:
    benchmark(lambda: [encode(part, case.settings, rounding=SystemRounding()) for part in case.clipped])


def test_pack(benchmark: Any, case: Case) -> None:
    tags = [np.zeros((block.ciphertexts, TAG_WORDS), np.uint64) for block in case.blocks]
    steps = list(zip(case.encoded, case.blocks, tags, strict=True))
    benchmark(
        lambda: [pack(part, layout=case.layout, block=block, tag_words=words) for part, block, words in steps]
    )


def test_add_eight_masks(benchmark: Any, case: Case) -> None:
    steps = list(zip(case.packed, case.blocks, strict=True))
    benchmark(lambda: [add_masks(part, MASKS, layout=case.layout, block=block) for part, block in steps])


def test_encrypt(benchmark: Any, case: Case) -> None:
    describe(benchmark, case)
    benchmark(lambda: [case.holder.encrypt(part) for part in case.masked])


def test_write_an_upload(benchmark: Any, case: Case) -> None:
    benchmark(lambda: case.upload)
    benchmark.extra_info["bytes_per_value"] = round(len(case.upload) / case.settings.length, 4)


def test_check_an_upload(benchmark: Any, case: Case) -> None:
    payload = memoryview(case.upload)
    benchmark(lambda: UploadFrame(payload, sender="ana"))


def test_add_one_client_to_the_sum(benchmark: Any, case: Case) -> None:
    describe(benchmark, case)
    total, payload = case.running_sum(), memoryview(case.upload)

    def add() -> None:
        total.clients = 1  # room for as many as the benchmark likes
        total.add(UploadFrame(payload, sender="ana"))

    benchmark(add)


def test_take_eight_masks_off_and_seal(benchmark: Any, case: Case) -> None:
    describe(benchmark, case)
    total = case.running_sum()

    def seal() -> int:
        blocks = total.sealed_blocks(lambda block: mask_sum(MASKS, layout=case.layout, block=block))
        return sum(len(part) for _, sealed in blocks for part in write_sum_block(sealed, case.layout))

    size = benchmark(seal)
    benchmark.extra_info["bytes_per_value"] = round(size / case.settings.length, 4)


def test_open(benchmark: Any, case: Case) -> None:
    describe(benchmark, case)
    head = write_sum_head(case.settings, contributed=[True] * CLIENTS)
    parts = [part for sealed in case.sealed() for part in write_sum_block(sealed, case.layout)]
    payload = memoryview(head + b"".join(parts))

    def open_sum() -> None:
        for _, sealed in SumFrame(payload, settings=case.settings, clients=CLIENTS).blocks():
            case.holder.decrypt(sealed)

    benchmark(open_sum)


def test_make_a_key_holder(benchmark: Any, case: Case) -> None:
    key = BfvKey.generate()
    benchmark(lambda: KeyHolder(case.layout.parameters, key))
