from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.key_derivation import derive_key, key_stream
from fedstyle_secure.secure_aggregation.keys import Identity, Roster
from fedstyle_secure.secure_aggregation.packing import TAG_LIMB_BITS, TAG_WORDS, Block, Layout
from fedstyle_secure.secure_aggregation.parameters import field_bits
from fedstyle_secure.secure_aggregation.tags import TAG_PRIME, LinearTags
from fedstyle_secure.secure_aggregation.vectors import EncodedUpdate
from fedstyle_secure.secure_aggregation.wire import Label, Session

NAMES = ["ana", "ben", "cem", "dia"]
SECRET = b"g" * 32
SESSION = Session(b"s" * 16, b"p" * 32, Roster([Identity.generate(name).public for name in NAMES]))
LABEL = Label("train", 1, b"m" * 32)


def make_settings(length: int, *, value_bits: int = 16, cohort_cap: int = 4) -> SumSettings:
    return SumSettings(length=length, value_bits=value_bits, value_limit=1.0, cohort_cap=cohort_cap)


def make_tags(s: SumSettings, **changes) -> LinearTags:
    terms = {"group_secret": SECRET, "session": SESSION, "label": LABEL, "settings": s} | changes
    return LinearTags(terms.pop("group_secret"), **terms)


def summed(s: SumSettings, block: Block, names: list[str], *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An honest sum of one block: values and tag words."""
    rng = np.random.default_rng(seed)
    values = np.zeros(block.values, np.int64)
    words = np.zeros((block.ciphertexts, TAG_WORDS), np.uint64)
    for name in names:
        encoded = rng.integers(0, s.largest_encoded + 1, block.values).astype(np.uint32)
        values += encoded
        words += make_tags(s).of(EncodedUpdate(encoded), client=name, block=block)
    return values, words


def refused(
    tags: LinearTags, values: np.ndarray, words: np.ndarray, block: Block, *, survivors=tuple(NAMES)
) -> bool:
    try:
        tags.require(values, words, survivors=survivors, block=block)
    except ProtocolError as error:
        return error.code is ErrorCode.SUM_MISMATCH
    return False


# Two full ciphertexts, and one that is not full: two blocks.
LENGTH = 2 * 8186 + 5
SETTINGS = make_settings(LENGTH)
FULL, REST = Layout.of(SETTINGS).blocks()


@settings(max_examples=60, deadline=None)
@given(
    length=st.sampled_from([1, 2, 4093, 4094, 8187, 9000]),
    value_bits=st.integers(8, 24),
    cohort_cap=st.sampled_from([4, 16, 17, 64, 256, 1024]),
    survivors=st.permutations(NAMES).flatmap(lambda names: st.sampled_from([names[:2], names[:3], names])),
    seed=st.integers(0, 2**32),
)
def test_the_sum_of_the_survivors_passes(length, value_bits, cohort_cap, survivors, seed) -> None:
    s = make_settings(length, value_bits=value_bits, cohort_cap=cohort_cap)
    for block in Layout.of(s).blocks():
        values, words = summed(s, block, survivors, seed=seed)
        assert not refused(make_tags(s), values, words, block, survivors=survivors)


@settings(max_examples=100, deadline=None)
@given(
    changes=st.dictionaries(
        st.sampled_from([0, 1, 4092, 4093, 4094, 8185, 8186, 8187, 2 * 8186 - 1]),
        st.integers(-(2**18), 2**18).filter(bool),
        min_size=1,
    )
)
def test_any_other_values_are_refused(changes) -> None:
    values, words = summed(SETTINGS, FULL, NAMES)
    for place, change in changes.items():
        values[place] = values[place] + change if values[place] + change >= 0 else values[place] - change
    assert refused(make_tags(SETTINGS), values, words, FULL)


@pytest.mark.parametrize("bit", range(34))
def test_no_power_of_two_goes_unnoticed(bit: int) -> None:
    s = make_settings(7, value_bits=24, cohort_cap=1024)
    (block,) = Layout.of(s).blocks()
    values, words = summed(s, block, NAMES)
    values[3] ^= 1 << bit
    assert refused(make_tags(s), values, words, block)


@pytest.mark.parametrize(("row", "place", "bit"), [*product(range(2), range(TAG_WORDS), [0, 20, 27])])
def test_a_wrong_tag_word_is_refused(row: int, place: int, bit: int) -> None:
    values, words = summed(SETTINGS, FULL, NAMES)
    words[row, place] ^= np.uint64(1 << bit)
    assert refused(make_tags(SETTINGS), values, words, FULL)


def test_values_that_change_places_are_refused() -> None:
    values, words = summed(SETTINGS, FULL, NAMES)
    for one, other in [(0, 1), (0, 4093), (7, 8186 + 7)]:
        swapped = values.copy()
        swapped[[one, other]] = swapped[[other, one]]
        assert values[one] != values[other]
        assert refused(make_tags(SETTINGS), swapped, words, FULL)


def test_ciphertexts_that_change_places_are_refused_even_with_their_tags() -> None:
    values, words = summed(SETTINGS, FULL, NAMES)
    swapped = values.reshape(2, -1)[::-1].reshape(-1)
    assert refused(make_tags(SETTINGS), swapped, words, FULL)
    assert refused(make_tags(SETTINGS), swapped, words[::-1], FULL)


@pytest.mark.parametrize("factor", [0, 2, 3, 2**12])
def test_a_multiple_of_a_sum_is_refused(factor: int) -> None:
    values, words = summed(SETTINGS, FULL, NAMES)
    assert refused(make_tags(SETTINGS), values * factor, words * np.uint64(factor), FULL)


@pytest.mark.parametrize("survivors", [NAMES[:3], NAMES[1:], [*NAMES[:3], "ana"], [*NAMES, "ana"]])
def test_the_sum_of_other_clients_is_refused(survivors: list[str]) -> None:
    values, words = summed(SETTINGS, FULL, NAMES)
    assert refused(make_tags(SETTINGS), values, words, FULL, survivors=survivors)
    values, words = summed(SETTINGS, FULL, NAMES[:3] if len(survivors) > 3 else NAMES[:2])
    assert refused(make_tags(SETTINGS), values, words, FULL, survivors=survivors)


@pytest.mark.parametrize(
    "change",
    [
        {"group_secret": b"h" * 32},
        {"session": replace(SESSION, session_id=b"t" * 16)},
        {"label": replace(LABEL, stage="centre")},
        {"label": replace(LABEL, round_number=2)},
        {"label": replace(LABEL, model_hash=b"n" * 32)},
        {"settings": replace(SETTINGS, value_limit=2.0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_sum_is_refused(change: dict[str, object]) -> None:
    values, words = summed(SETTINGS, FULL, NAMES)
    assert not refused(make_tags(SETTINGS), values, words, FULL)
    assert refused(make_tags(SETTINGS, **change), values, words, FULL)


def test_tags_say_nothing_about_values_and_no_two_pads_are_alike() -> None:
    tags = make_tags(SETTINGS)
    zeros = EncodedUpdate(np.zeros(FULL.values, np.uint32))
    rows = [tags.of(zeros, client=name, block=FULL) for name in NAMES]
    assert len(np.unique(np.concatenate(rows), axis=0)) == len(NAMES) * FULL.ciphertexts
    assert max(row.max() for row in rows) < 2**TAG_LIMB_BITS


def test_a_ciphertext_has_the_same_tag_alone_and_in_its_block() -> None:
    s = make_settings(20 * 8186)
    block, *_ = Layout.of(s).blocks()
    encoded = np.random.default_rng(0).integers(0, s.largest_encoded, block.values).astype(np.uint32)
    together = make_tags(s).of(EncodedUpdate(encoded), client="ben", block=block)
    for row in range(block.ciphertexts):
        alone = Block(row, 1, block.slots, row * 8186, 8186)
        part = EncodedUpdate(encoded[row * 8186 : (row + 1) * 8186])
        np.testing.assert_array_equal(
            make_tags(s).of(part, client="ben", block=alone), together[row : row + 1]
        )


def tag_in_python(s: SumSettings, values: list[int], client: str, ciphertext: int) -> int:
    terms = (*LABEL.to_fields(), s.to_bytes())
    key = derive_key(SECRET, SESSION.binding("tag coefficients", *terms))
    coefficients = key_stream(key, first_word=0, words=len(values)).tolist()
    place = 2 * (ciphertext * len(NAMES) + NAMES.index(client))
    low, high = key_stream(
        derive_key(SECRET, SESSION.binding("tag pads", *terms)), first_word=place, words=2
    ).tolist()
    products = sum(a * value for a, value in zip(coefficients, values, strict=True))
    return (products + low + (high << 64)) % (2**61 - 1)


@pytest.mark.parametrize(("value_bits", "cohort_cap"), [(8, 2), (8, 1024), (16, 4), (24, 1024)])
def test_the_largest_sums_do_not_overflow(value_bits: int, cohort_cap: int) -> None:
    s = make_settings(20_465, value_bits=value_bits, cohort_cap=cohort_cap)
    largest = cohort_cap * s.largest_encoded
    for block in Layout.of(s).blocks():
        each = block.values // block.ciphertexts
        ciphertexts = range(block.first_ciphertext, block.first_ciphertext + block.ciphertexts)
        tags = [tag_in_python(s, [largest] * each, "ben", ciphertext) for ciphertext in ciphertexts]
        words = [[tag >> shift & 0x1FFFFF for shift in (0, 21, 42)] for tag in tags]
        values = np.full(block.values, largest, np.int64)
        assert not refused(make_tags(s), values, np.array(words, np.uint64), block, survivors=["ben"])


def test_products_of_limbs_and_sums_fit_into_a_word_for_all_settings() -> None:
    for value_bits, cohort_cap in product(range(8, 25), [2, 3, 16, 17, 64, 65, 256, 257, 1024]):
        s = make_settings(2**26, value_bits=value_bits, cohort_cap=cohort_cap)
        assert Layout.of(s).values_per_ciphertext * 2**16 * 2 ** field_bits(s) < 2**63


def test_the_modulus_is_a_prime_that_a_word_and_the_tag_words_cover() -> None:
    # Lucas and Lehmer: 2^61 - 1 is prime if 59 steps from 4 end at 0.
    residue = 4
    for _ in range(59):
        residue = (residue * residue - 2) % TAG_PRIME
    assert residue == 0
    assert TAG_PRIME <= 2 ** (TAG_WORDS * TAG_LIMB_BITS)
    # No residue of a 64-bit word is more likely than the documented 2^-60.
    assert -(-(2**64) // TAG_PRIME) / 2**64 < 2**-60


def test_tags_print_nothing_and_are_not_copied() -> None:
    tags = make_tags(SETTINGS)
    assert repr(tags) == "LinearTags(hidden)"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            leak(tags)
