from __future__ import annotations

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.packing import (
    TAG_LIMB_BITS,
    TAG_WORDS,
    Block,
    Layout,
    pack,
    unpack,
)
from fedstyle_secure.secure_aggregation.parameters import PARAMETER_SETS, RING_DEGREE
from fedstyle_secure.secure_aggregation.vectors import EncodedUpdate

LENGTHS = [1, 2, 3, 4093, 8185, 8186, 8187, 16 * 8186, 16 * 8186 + 1, 17 * 8186, 1_000_000]


def largest_tag_words(block: Block) -> np.ndarray:
    return np.full((block.ciphertexts, TAG_WORDS), 2**TAG_LIMB_BITS - 1, np.uint64)


def tag_words_for(block: Block) -> np.ndarray:
    rng = np.random.default_rng(block.first_ciphertext)
    return rng.integers(0, 2**TAG_LIMB_BITS, (block.ciphertexts, TAG_WORDS), dtype=np.uint64)


@pytest.mark.parametrize("length", LENGTHS)
def test_blocks_cover_every_value_and_every_ciphertext_once(settings, length: int) -> None:
    layout = Layout.of(settings(length, cohort_cap=16))
    value, ciphertext, coefficients = 0, 0, 0
    for block in layout.blocks():
        assert (block.first_value, block.first_ciphertext) == (value, ciphertext)
        assert block.coefficients <= RING_DEGREE
        assert block.values <= block.ciphertexts * layout.values_per_ciphertext
        assert block.values <= block.ciphertexts * block.slots * layout.fields
        value += block.values
        ciphertext += block.ciphertexts
        coefficients += block.ciphertexts * block.coefficients
    assert (value, ciphertext, coefficients) == (length, layout.ciphertexts, layout.coefficients)


@pytest.mark.parametrize("length", [1, 3, 4093, 8186, 8187, 40_000])
@pytest.mark.parametrize(("value_bits", "cohort_cap"), [(8, 3), (16, 16), (24, 16), (13, 1024), (24, 1024)])
def test_sums_of_packed_values_are_packed_sums(settings, length, value_bits, cohort_cap) -> None:
    s = settings(length, value_bits=value_bits, cohort_cap=cohort_cap)
    layout = Layout.of(s)
    rng = np.random.default_rng(0)
    for block, tags in ((b, make(b)) for b in layout.blocks() for make in (tag_words_for, largest_tag_words)):
        values = rng.integers(0, s.largest_encoded + 1, block.values).astype(np.uint32)
        values[0] = s.largest_encoded
        packed = pack(EncodedUpdate(values), layout=layout, block=block, tag_words=tags)
        assert packed.words.max() < 2**layout.parameters.plain_bits
        total = packed.words * np.uint64(cohort_cap) & np.uint64(2**layout.parameters.plain_bits - 1)
        opened, opened_tags = unpack(total, layout=layout, block=block, clients=cohort_cap)
        np.testing.assert_array_equal(opened, values.astype(np.int64) * cohort_cap)
        np.testing.assert_array_equal(opened_tags, tags * np.uint64(cohort_cap))


def test_every_plain_modulus_has_room_for_the_tag_words_of_its_largest_cohort() -> None:
    for parameters in PARAMETER_SETS:
        assert parameters.cohort_cap * (2**TAG_LIMB_BITS - 1) < 2**parameters.plain_bits


def packed_block(s) -> tuple[Layout, Block, np.ndarray]:
    layout = Layout.of(s)
    (block,) = layout.blocks()
    values = EncodedUpdate(np.full(block.values, s.largest_encoded, np.uint32))
    words = pack(values, layout=layout, block=block, tag_words=tag_words_for(block)).words
    return layout, block, words


def refused(layout: Layout, block: Block, words: np.ndarray, *, clients: int = 1) -> bool:
    try:
        unpack(words, layout=layout, block=block, clients=clients)
    except ProtocolError as error:
        return error.code is ErrorCode.SUM_MISMATCH
    return False


def test_values_that_no_honest_sum_has_are_refused(settings) -> None:
    # 101 values in fields of two: the last field of the last word must stay empty.
    layout, block, words = packed_block(settings(101))
    assert layout.fields == 2
    assert not refused(layout, block, words)
    too_large = words.copy()
    too_large[0, TAG_WORDS] += np.uint64(1)
    in_the_padding = words.copy()
    in_the_padding[0, -1] += np.uint64(2**layout.field_bits)
    above_the_fields = words.copy()
    above_the_fields[0, TAG_WORDS] |= np.uint64(2 ** (layout.field_bits * layout.fields))
    for wrong in (too_large, in_the_padding, above_the_fields):
        assert refused(layout, block, wrong)
    assert not refused(layout, block, too_large, clients=2)
