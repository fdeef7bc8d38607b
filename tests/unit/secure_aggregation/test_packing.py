from __future__ import annotations

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.packing import CHECK_WORDS, Block, Layout, pack, unpack
from fedstyle_secure.secure_aggregation.parameters import RING_DEGREE
from fedstyle_secure.secure_aggregation.vectors import EncodedUpdate

LENGTHS = [1, 2, 3, 4094, 8187, 8188, 8189, 16 * 8188, 16 * 8188 + 1, 17 * 8188, 1_000_000]


def words_for(layout: Layout, block: Block) -> np.ndarray:
    rng = np.random.default_rng(block.first_ciphertext)
    return rng.integers(0, 2**layout.parameters.plain_bits, (block.ciphertexts, CHECK_WORDS), dtype=np.uint64)


@pytest.mark.parametrize("length", LENGTHS)
def test_blocks_cover_every_value_and_every_ciphertext_once(settings, length: int) -> None:
    layout = Layout.of(settings(length, cohort_cap=16))
    value, ciphertext, coefficients = 0, 0, 0
    for block in layout.blocks():
        assert (block.first_value, block.first_ciphertext) == (value, ciphertext)
        assert block.coefficients <= RING_DEGREE
        assert block.values <= block.ciphertexts * block.slots * layout.fields
        value += block.values
        ciphertext += block.ciphertexts
        coefficients += block.ciphertexts * block.coefficients
    assert (value, ciphertext, coefficients) == (length, layout.ciphertexts, layout.coefficients)


@pytest.mark.parametrize("length", [1, 3, 4094, 8188, 8189, 40_000])
@pytest.mark.parametrize(("value_bits", "cohort_cap"), [(8, 3), (16, 16), (24, 16), (13, 1024), (24, 1024)])
def test_sums_of_packed_values_are_packed_sums(settings, length, value_bits, cohort_cap) -> None:
    s = settings(length, value_bits=value_bits, cohort_cap=cohort_cap)
    layout = Layout.of(s)
    rng = np.random.default_rng(0)
    for block in layout.blocks():
        check = words_for(layout, block)
        values = rng.integers(0, s.largest_encoded + 1, block.values).astype(np.uint32)
        values[0] = s.largest_encoded
        packed = pack(EncodedUpdate(values), layout=layout, block=block, check_words=check)
        assert packed.words.max() < 2**layout.parameters.plain_bits
        limit = np.uint64(2**layout.parameters.plain_bits - 1)
        total = packed.words * np.uint64(cohort_cap) & limit
        opened = unpack(
            total,
            layout=layout,
            block=block,
            clients=cohort_cap,
            check_words=check * np.uint64(cohort_cap) & limit,
        )
        np.testing.assert_array_equal(opened, values.astype(np.int64) * cohort_cap)


def packed_block(s) -> tuple[Layout, Block, np.ndarray, np.ndarray]:
    layout = Layout.of(s)
    (block,) = layout.blocks()
    check = words_for(layout, block)
    values = EncodedUpdate(np.full(block.values, s.largest_encoded, np.uint32))
    return layout, block, check, pack(values, layout=layout, block=block, check_words=check).words


def refused(layout: Layout, block: Block, check: np.ndarray, words: np.ndarray, *, clients: int = 1) -> bool:
    try:
        unpack(words, layout=layout, block=block, clients=clients, check_words=check)
    except ProtocolError as error:
        return error.code is ErrorCode.SUM_MISMATCH
    return False


def test_a_wrong_check_word_is_refused(settings) -> None:
    layout, block, check, words = packed_block(settings(101))
    assert not refused(layout, block, check, words)
    for place in range(CHECK_WORDS):
        wrong = words.copy()
        wrong[0, place] ^= np.uint64(1)
        assert refused(layout, block, check, wrong)


def test_values_that_no_honest_sum_has_are_refused(settings) -> None:
    # 101 values in fields of two: the last field of the last word must stay empty.
    layout, block, check, words = packed_block(settings(101))
    assert layout.fields == 2
    too_large = words.copy()
    too_large[0, CHECK_WORDS] += np.uint64(1)
    in_the_padding = words.copy()
    in_the_padding[0, -1] += np.uint64(2**layout.field_bits)
    above_the_fields = words.copy()
    above_the_fields[0, CHECK_WORDS] |= np.uint64(2 ** (layout.field_bits * layout.fields))
    for wrong in (too_large, in_the_padding, above_the_fields):
        assert refused(layout, block, check, wrong)
    assert not refused(layout, block, check, too_large, clients=2)
