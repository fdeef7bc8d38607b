from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.coefficients import largest_cut
from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.encryption import BfvKey, KeyHolder
from fedstyle_secure.secure_aggregation.fastest_arithmetic import fastest_arithmetic
from fedstyle_secure.secure_aggregation.frames import UploadFrame, write_upload_block, write_upload_head
from fedstyle_secure.secure_aggregation.packing import Block, Layout
from fedstyle_secure.secure_aggregation.parameters import COEFFICIENT_MODULUS, PARAMETER_SETS, RING_DEGREE
from fedstyle_secure.secure_aggregation.running_sum import BlockSum, RunningSum
from fedstyle_secure.secure_aggregation.tenseal_arithmetic import TensealArithmetic
from fedstyle_secure.secure_aggregation.vectors import EncryptedUpdate, MaskedUpdate
from tests.sealed_sums import random_words

Words = dict[Block, np.ndarray]


def words_for(layout: Layout, rng: np.random.Generator) -> Words:
    """Uniform words for all blocks of a vector."""
    shapes = {block: (block.ciphertexts, block.coefficients) for block in layout.blocks()}
    return {b: random_words(s, parameters=layout.parameters, rng=rng).words for b, s in shapes.items()}


def payload_of(holder: KeyHolder, layout: Layout, words: Words) -> bytes:
    updates = [holder.encrypt(MaskedUpdate(part)) for part in words.values()]
    parts = [part for update in updates for part in write_upload_block(update, layout)]
    return write_upload_head(layout.settings) + b"".join(parts)


def encrypted(holder: KeyHolder, layout: Layout, words: Words) -> UploadFrame:
    return UploadFrame(memoryview(payload_of(holder, layout, words)), sender="ana")


def no_masks(block: Block) -> np.ndarray:
    return np.zeros((block.ciphertexts, block.coefficients), np.uint64)


def state(total: RunningSum) -> list[tuple[list, list]]:
    return [(s.c0.tolist(), s.c1.tolist()) for _, s in total.sealed_blocks(no_masks)]


# A few values; one full ciphertext; a block of sixteen, one of two, and a ciphertext that is not full.
@pytest.mark.parametrize("length", [7, 8186, 18 * 8186 + 500])
@pytest.mark.parametrize("clients", [1, 5])
def test_the_sum_without_its_masks_opens_exactly(
    settings: Callable[..., SumSettings], length: int, clients: int
) -> None:
    layout = Layout.of(settings(length, cohort_cap=16))
    holder = KeyHolder(layout.parameters, BfvKey.generate())
    rng = np.random.default_rng(length)
    uploads, masks = [words_for(layout, rng) for _ in range(clients)], words_for(layout, rng)
    total = RunningSum(layout)
    for words in uploads:
        total.add(encrypted(holder, layout, words))
    assert total.clients == clients
    opened = list(total.sealed_blocks(masks.__getitem__))
    assert [block for block, _ in opened] == list(layout.blocks())
    for block, sealed in opened:
        expected = sum(words[block] for words in uploads) - masks[block]
        np.testing.assert_array_equal(
            holder.decrypt(sealed), expected & np.uint64(2**layout.parameters.plain_bits - 1)
        )


def test_taking_masks_off_leaves_the_sum_as_it_was(settings: Callable[..., SumSettings]) -> None:
    layout = Layout.of(settings(100))
    holder, rng = KeyHolder(layout.parameters, BfvKey.generate()), np.random.default_rng(3)
    total = RunningSum(layout)
    total.add(encrypted(holder, layout, words_for(layout, rng)))
    before = state(total)
    list(total.sealed_blocks(words_for(layout, rng).__getitem__))
    assert state(total) == before


@pytest.mark.parametrize("parameters", PARAMETER_SETS, ids=str)
def test_masks_come_off_word_for_word_as_seal_takes_a_plaintext_off(parameters) -> None:
    tenseal, rng = TensealArithmetic(parameters), np.random.default_rng(4)
    c0 = rng.integers(0, largest_cut(parameters.c0_cut_bits), (1, RING_DEGREE), np.uint64, endpoint=True)
    seed = rng.integers(0, 256, (1, 64), np.uint8)
    masks = random_words((1, RING_DEGREE), parameters=parameters, rng=rng).words
    masks[0, :2] = 0, 2**parameters.plain_bits - 1
    total = BlockSum(parameters, tenseal)
    total.add(EncryptedUpdate(c0, seed))
    ours = total.sealed(masks)

    (ciphertext,) = total._totals
    tenseal.evaluator.sub_plain_inplace(ciphertext, tenseal.plaintext(masks[0]))
    theirs = total.sealed(np.zeros_like(masks))
    np.testing.assert_array_equal(ours.c0, theirs.c0)
    np.testing.assert_array_equal(ours.c1, theirs.c1)


def test_first_polynomials_add_up_without_overflow() -> None:
    parameters = PARAMETER_SETS[-1]
    assert parameters.c0_cut_bits == 0
    top = largest_cut(0)
    total = BlockSum(parameters, fastest_arithmetic(parameters))
    for _ in range(40):
        total.add(EncryptedUpdate(np.full((1, 7), top, np.uint64), np.zeros((1, 64), np.uint8)))
    sealed = total.sealed(np.zeros((1, 7), np.uint64))
    assert sealed.c0.tolist() == [[40 * top % COEFFICIENT_MODULUS] * 7]


def test_an_upload_under_other_settings_changes_nothing(settings: Callable[..., SumSettings]) -> None:
    layout, other = Layout.of(settings(100)), Layout.of(settings(100, value_limit=2.0))
    holder, rng = KeyHolder(layout.parameters, BfvKey.generate()), np.random.default_rng(6)
    total = RunningSum(layout)
    total.add(encrypted(holder, layout, words_for(layout, rng)))
    before = state(total)
    with pytest.raises(ProtocolError, match="ana") as caught:
        total.add(encrypted(holder, other, words_for(other, rng)))
    assert caught.value.code is ErrorCode.MESSAGE_UNEXPECTED
    assert (state(total), total.clients) == (before, 1)


def test_a_full_sum_takes_no_more_uploads(settings: Callable[..., SumSettings]) -> None:
    layout = Layout.of(settings(10, cohort_cap=2))
    holder, rng = KeyHolder(layout.parameters, BfvKey.generate()), np.random.default_rng(7)
    total = RunningSum(layout)
    for _ in range(2):
        total.add(encrypted(holder, layout, words_for(layout, rng)))
    before = state(total)
    with pytest.raises(ProtocolError, match="no room") as caught:
        total.add(encrypted(holder, layout, words_for(layout, rng)))
    assert caught.value.code is ErrorCode.MESSAGE_UNEXPECTED
    assert (state(total), total.clients) == (before, 2)


def test_memory_does_not_grow_with_the_clients(settings: Callable[..., SumSettings]) -> None:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("resident memory is read from /proc")
    layout = Layout.of(settings(300_000, cohort_cap=64))
    holder = KeyHolder(layout.parameters, BfvKey.generate())
    payload = payload_of(holder, layout, words_for(layout, np.random.default_rng(8)))

    def resident_bytes_after(uploads: int) -> int:
        for _ in range(uploads):
            total.add(UploadFrame(memoryview(payload), sender="ana"))
        gc.collect()
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    total = RunningSum(layout)
    few, many = resident_bytes_after(3), resident_bytes_after(30)
    assert many - few < len(payload) / 2


def test_a_running_sum_says_nothing_of_its_content(settings: Callable[..., SumSettings]) -> None:
    layout = Layout.of(settings(10))
    assert repr(RunningSum(layout)) == f"RunningSum(0 clients, {layout.settings})"
