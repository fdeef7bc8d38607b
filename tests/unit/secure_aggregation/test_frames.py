from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation import frames
from fedstyle_secure.secure_aggregation.coefficients import largest_cut
from fedstyle_secure.secure_aggregation.encryption import SealedSum
from fedstyle_secure.secure_aggregation.frames import (
    SumFrame,
    UploadFrame,
    sum_bytes,
    upload_bytes,
    write_sum_block,
    write_sum_head,
    write_upload_block,
    write_upload_head,
)
from fedstyle_secure.secure_aggregation.framing import Reader
from fedstyle_secure.secure_aggregation.packing import Layout
from fedstyle_secure.secure_aggregation.parameters import RING_DEGREE
from fedstyle_secure.secure_aggregation.vectors import EncryptedUpdate

# One settings for each width of a coefficient: 40, 48, 56 and 64 bits of c0.
WIDTHS = {40: (24, 16), 48: (16, 16), 56: (16, 64), 64: (13, 1024)}


@pytest.mark.parametrize(("value_bits", "cohort_cap"), WIDTHS.values(), ids=[str(width) for width in WIDTHS])
def test_blocks_come_back_as_they_were_written(settings, value_bits: int, cohort_cap: int) -> None:
    s = settings(140_000, value_bits=value_bits, cohort_cap=cohort_cap)
    layout = Layout.of(s)
    assert layout.parameters.c0_bits == {v: k for k, v in WIDTHS.items()}[value_bits, cohort_cap]
    rng = np.random.default_rng(0)
    c0_top, c1_top = (
        largest_cut(bits) for bits in (layout.parameters.c0_cut_bits, layout.parameters.c1_cut_bits)
    )
    updates, sums, upload, total = [], [], write_upload_head(s), write_sum_head(s, contributed=[True] * 9)
    for block in layout.blocks():
        c0 = rng.integers(0, c0_top, (block.ciphertexts, block.coefficients), np.uint64, endpoint=True)
        c0[0, 0], c0[-1, -1] = c0_top, 0
        c1 = rng.integers(0, c1_top, (block.ciphertexts, RING_DEGREE), np.uint64, endpoint=True)
        updates.append(EncryptedUpdate(c0, rng.integers(0, 256, (block.ciphertexts, 64)).astype(np.uint8)))
        sums.append(SealedSum(c0, c1))
        upload += b"".join(write_upload_block(updates[-1], layout))
        total += b"".join(write_sum_block(sums[-1], layout))
    assert len(upload) == upload_bytes(s)
    assert len(total) == sum_bytes(s, clients=9)

    frame = UploadFrame(memoryview(upload), sender="ana")
    for block, written in zip(layout.blocks(), updates, strict=True):
        read = frame.next_block(block)
        np.testing.assert_array_equal(read.c0, written.c0)
        np.testing.assert_array_equal(read.seeds, written.seeds)
    for (_, read), written in zip(
        SumFrame(memoryview(total), settings=s, clients=9).blocks(), sums, strict=True
    ):
        np.testing.assert_array_equal(read.c0, written.c0)
        np.testing.assert_array_equal(read.c1, written.c1)


@pytest.mark.parametrize(("value_bits", "cohort_cap"), WIDTHS.values(), ids=[str(width) for width in WIDTHS])
@pytest.mark.parametrize("place", ["first block", "last coefficient"])
def test_an_upload_out_of_range_is_refused_with_its_sender_before_any_block(
    settings, value_bits: int, cohort_cap: int, place: str
) -> None:
    s = settings(140_000, value_bits=value_bits, cohort_cap=cohort_cap)
    layout = Layout.of(s)
    bits, largest = layout.parameters.c0_bits, largest_cut(layout.parameters.c0_cut_bits)
    first, *_, last = layout.blocks()
    block, index = (first, (0, 3)) if place == "first block" else (last, (0, -1))

    def payload(word: int) -> memoryview:
        parts = [write_upload_head(s)]
        for each in layout.blocks():
            c0 = np.full((each.ciphertexts, each.coefficients), largest, np.uint64)
            if each == block:
                c0[index] = word
            parts += write_upload_block(
                EncryptedUpdate(c0, np.zeros((each.ciphertexts, 64), np.uint8)), layout
            )
        return memoryview(b"".join(parts))

    UploadFrame(payload(largest), sender="ben")
    # Above the bound in the lowest place, in each of the planes, and as far as it goes.
    for word in {largest + 1, *(largest + (1 << shift) for shift in range(0, bits - 1, 8)), 2**bits - 1}:
        if word < 2**bits:
            with pytest.raises(ProtocolError) as caught:
                UploadFrame(payload(word), sender="ben")
            assert caught.value.code is ErrorCode.MESSAGE_MALFORMED
            assert "ben" in caught.value.message


@pytest.mark.parametrize("bits", WIDTHS)
@given(words=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30), data=st.data())
def test_words_above_a_bound_are_found_plane_by_plane(bits: int, words: list[int], data) -> None:
    words = [word % 2**bits for word in words]
    bound = data.draw(st.one_of(st.integers(0, 2**bits - 1), st.sampled_from(words)))
    written = b"".join(frames._write_words(np.array([words], np.uint64), bits))
    planes = frames._read_planes(Reader(written), bits, len(words))
    assert frames._exceed(planes, bits, bound) == (max(words) > bound)


@pytest.mark.parametrize("clients", [2, 8, 9, 1024])
def test_contributors_are_read_in_roster_order(settings, clients: int) -> None:
    s = settings(1, cohort_cap=1024)
    contributed = [index % 3 != 1 for index in range(clients)]
    payload = write_sum_head(s, contributed=contributed)
    payload += bytes(sum_bytes(s, clients=clients) - len(payload))
    assert list(SumFrame(memoryview(payload), settings=s, clients=clients).contributed) == contributed


def test_contributors_beyond_the_roster_are_refused(settings) -> None:
    s = settings(1)
    payload = write_sum_head(s, contributed=[True] * 4)
    payload += bytes(sum_bytes(s, clients=3) - len(payload))
    with pytest.raises(ProtocolError) as caught:
        SumFrame(memoryview(payload), settings=s, clients=3)
    assert caught.value.code is ErrorCode.MESSAGE_MALFORMED
