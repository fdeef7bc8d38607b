from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.key_derivation import key_stream
from fedstyle_secure.secure_aggregation.masking import MaskContext, StreamMask, add_masks, mask_sum
from fedstyle_secure.secure_aggregation.packing import Block, Layout
from fedstyle_secure.secure_aggregation.parameters import RING_DEGREE
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.slot_secrets import mask_key
from fedstyle_secure.secure_aggregation.vectors import PackedUpdate
from fedstyle_secure.secure_aggregation.wire import Label
from tests.secure_sums import make_settings, make_world

NAMES = ("ana", "ben", "cem", "dia")
LABEL = Label("train", 1, b"m" * 32, epoch=1, slot=2)
SEEDS = {name: name.encode().ljust(32, b"\1") for name in (*NAMES, "eve")}
FULL_VALUES = 2 * (RING_DEGREE - 3)


def context_of(world=None, *, length: int = 10) -> MaskContext:
    session = (world or make_world(NAMES)).session
    return MaskContext(session, b"c" * 32, LABEL, Layout.of(make_settings(length, cohort_cap=4)))


def pair(context: MaskContext, owner: str, peer: str) -> StreamMask:
    return context.pair_mask(SEEDS[owner], mask_key(SEEDS[peer]), owner=owner, peer=peer)


def zeros(block: Block) -> PackedUpdate:
    return PackedUpdate(np.zeros((block.ciphertexts, block.coefficients), np.uint64))


def test_two_clients_hold_the_same_stream_with_opposite_signs() -> None:
    context = context_of()
    ours, theirs = pair(context, "ana", "ben"), pair(context, "ben", "ana")
    assert ours.key == theirs.key
    assert (ours.adds, theirs.adds) == (True, False)


def test_the_sign_goes_by_name_and_not_by_place_on_the_roster() -> None:
    for world in (make_world(("ana", "ben")), make_world(("ben", "ana"))):
        assert pair(context_of(world), "ana", "ben").adds
        assert not pair(context_of(world), "ben", "ana").adds


def other_contexts() -> list[MaskContext]:
    """One for everything that a vector belongs to, different in that alone."""
    context = context_of()
    session, settings = context.session, context.layout.settings
    sessions = [
        replace(session, session_id=b"another session!"),
        replace(session, policy_hash=b"q" * 32),
        replace(session, roster=make_world(NAMES).roster),
        replace(session, quorum=Quorum(minimum=3, colluding=0)),
        replace(session, slots=17),
    ]
    labels = [
        replace(LABEL, stage="centre"),
        replace(LABEL, round_number=2),
        replace(LABEL, model_hash=b"n" * 32),
        replace(LABEL, epoch=2),
        replace(LABEL, slot=1),
    ]
    return [
        context,
        replace(context, cohort=b"d" * 32),
        replace(context, layout=Layout.of(replace(settings, value_limit=2.0))),
        *(replace(context, session=other) for other in sessions),
        *(replace(context, label=other) for other in labels),
    ]


def test_every_key_is_bound_to_all_that_a_vector_belongs_to_and_to_one_purpose() -> None:
    contexts = other_contexts()
    masks = [
        mask
        for context in contexts
        for mask in (
            context.own_mask(SEEDS["ana"], "ana"),
            context.own_mask(SEEDS["ana"], "ben"),
            context.own_mask(SEEDS["ben"], "ana"),
            pair(context, "ana", "ben"),
            pair(context, "ana", "cem"),
            pair(context, "ben", "cem"),
        )
    ]
    assert len({mask.key for mask in masks}) == 6 * len(contexts)
    # Were the names not bound, two clients with the same key pair would have the same masks.
    context = contexts[0]
    posing = context.pair_mask(SEEDS["ana"], mask_key(SEEDS["ben"]), owner="ana", peer="cem")
    assert posing.key != pair(context, "ana", "ben").key


def test_a_client_adds_its_own_mask() -> None:
    assert all(context_of().own_mask(SEEDS[name], name).adds for name in NAMES)


@pytest.mark.parametrize("public_key", [bytes(32), b"\x01" + bytes(31), b"short"])
def test_a_neighbour_whose_mask_key_cannot_be_used_is_named(public_key: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        context_of().pair_mask(SEEDS["ana"], public_key, owner="ana", peer="ben")
    assert caught.value.code is ErrorCode.MESSAGE_MALFORMED
    assert "ben" in caught.value.message


def all_masks(context: MaskContext, own: str, cohort=NAMES) -> list[StreamMask]:
    peers = [pair(context, own, peer) for peer in cohort if peer != own]
    return [context.own_mask(SEEDS[own], own), *peers]


@pytest.mark.parametrize("length", [5, FULL_VALUES * 17 + 5])
@pytest.mark.parametrize("dropped", [(), ("ben",), ("ana", "dia")])
def test_what_does_not_cancel_comes_off_with_the_seeds_of_survivors_and_dropouts(length, dropped) -> None:
    context = context_of(length=length)
    alive = [name for name in NAMES if name not in dropped]
    left = [context.own_mask(SEEDS[name], name) for name in alive]
    for name in dropped:
        for peer in alive:
            mask = pair(context, name, peer)
            left.append(StreamMask(mask.key, not mask.adds))
    modulus_mask = np.uint64(2**context.layout.parameters.plain_bits - 1)
    for block in context.layout.blocks():
        total = zeros(block).words.copy()
        for name in alive:
            untouched = zeros(block)
            masked = add_masks(untouched, all_masks(context, name), layout=context.layout, block=block)
            assert masked.words.max() <= modulus_mask
            assert (masked.words == 0).mean() < 0.5
            assert not untouched.words.any()
            total += masked.words
        off = mask_sum(left, layout=context.layout, block=block)
        assert off.max() <= modulus_mask
        assert not ((total - off) & modulus_mask).any()
        for missing in range(len(left)):
            fewer = left[:missing] + left[missing + 1 :]
            part = mask_sum(fewer, layout=context.layout, block=block)
            assert (((total - part) & modulus_mask) == 0).mean() < 0.5


def test_masks_are_added_to_what_is_there() -> None:
    context = context_of()
    (block,) = context.layout.blocks()
    bits = context.layout.parameters.plain_bits
    words = np.random.default_rng(0).integers(0, 2**bits, (1, block.coefficients), np.uint64)
    masks = all_masks(context, "ben")
    masked = add_masks(PackedUpdate(words), masks, layout=context.layout, block=block)
    off = mask_sum(masks, layout=context.layout, block=block)
    np.testing.assert_array_equal((masked.words - off) & np.uint64(2**bits - 1), words)


def test_the_sum_of_no_masks_is_zero() -> None:
    layout = context_of(length=FULL_VALUES + 5).layout
    for block in layout.blocks():
        total = mask_sum([], layout=layout, block=block)
        assert total.shape == (block.ciphertexts, block.coefficients)
        assert not total.any()


def test_no_two_blocks_use_the_same_part_of_a_stream() -> None:
    layout = Layout.of(make_settings(FULL_VALUES * 40, cohort_cap=4))
    mask = StreamMask(b"k" * 32, adds=True)
    words = [add_masks(zeros(block), [mask], layout=layout, block=block).words for block in layout.blocks()]
    assert len(words) > 2
    whole = key_stream(mask.key, first_word=0, words=layout.ciphertexts * RING_DEGREE)
    limit = np.uint64(2**layout.parameters.plain_bits - 1)
    np.testing.assert_array_equal(np.concatenate([w.ravel() for w in words]), whole & limit)
    assert np.unique(whole).size == whole.size


def test_a_mask_is_neither_shown_nor_copied() -> None:
    mask = StreamMask(b"k" * 32, adds=True)
    assert repr(mask) == "StreamMask(hidden)"
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copier(mask)
