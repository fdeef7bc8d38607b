from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.masking import PairMask, add_masks, check_words, key_stream, pair_mask
from fedstyle_secure.secure_aggregation.packing import CHECK_WORDS, Layout
from fedstyle_secure.secure_aggregation.parameters import RING_DEGREE
from fedstyle_secure.secure_aggregation.vectors import PackedUpdate
from fedstyle_secure.secure_aggregation.wire import Label, Session

LABEL = Label("train", 1, b"m" * 32)


SETTINGS = SumSettings(length=10, value_bits=16, value_limit=1.0, cohort_cap=4)


def mask_for(session: Session, own: str, peer: str, *, label=LABEL, s=SETTINGS, secret: bytes = b"s" * 32):
    return pair_mask(secret, session=session, label=label, settings=s, own=own, peer=peer)


def test_two_clients_hold_the_same_stream_with_opposite_signs(new_world) -> None:
    session = new_world().session
    ours, theirs = mask_for(session, "ana", "ben"), mask_for(session, "ben", "ana")
    assert ours.key == theirs.key
    assert (ours.adds, theirs.adds) == (True, False)


def test_the_sign_goes_by_name_and_not_by_place_on_the_roster(new_world) -> None:
    forwards, backwards = new_world(("ana", "ben")).session, new_world(("ben", "ana")).session
    for session in (forwards, backwards):
        assert mask_for(session, "ana", "ben").adds
        assert not mask_for(session, "ben", "ana").adds


def test_the_key_is_bound_to_everything_that_a_vector_belongs_to(new_world) -> None:
    world = new_world()
    session = world.session
    base = mask_for(session, "ana", "ben")
    others = [
        mask_for(Session(b"another session!", session.policy_hash, world.roster), "ana", "ben"),
        mask_for(Session(session.session_id, b"q" * 32, world.roster), "ana", "ben"),
        mask_for(Session(session.session_id, session.policy_hash, new_world().roster), "ana", "ben"),
        mask_for(session, "ana", "ben", label=Label("centre", 1, b"m" * 32)),
        mask_for(session, "ana", "ben", label=Label("train", 2, b"m" * 32)),
        mask_for(session, "ana", "ben", label=Label("train", 1, b"n" * 32)),
        mask_for(session, "ana", "ben", s=dataclasses.replace(SETTINGS, value_limit=2.0)),
        mask_for(session, "ana", "cem"),
        mask_for(session, "ana", "ben", secret=b"t" * 32),
    ]
    assert len({base.key, *(other.key for other in others)}) == 1 + len(others)


@pytest.mark.parametrize("length", [5, 8188 * 17 + 5])
def test_masks_of_a_cohort_cancel_and_no_vector_is_left_alone(new_world, settings, length: int) -> None:
    names = ("ana", "ben", "cem", "dia")
    session = new_world(names).session
    layout = Layout.of(settings(length, cohort_cap=4))
    limit = np.uint64(2**layout.parameters.plain_bits - 1)
    for block in layout.blocks():
        shape = (block.ciphertexts, block.coefficients)
        total = np.zeros(shape, np.uint64)
        for own in names:
            masks = [
                mask_for(session, own, peer, secret="".join(sorted((own, peer))).encode())
                for peer in names
                if peer != own
            ]
            zero = PackedUpdate(np.zeros(shape, np.uint64))
            masked = add_masks(zero, masks, layout=layout, block=block)
            assert masked.words.max() <= limit
            assert (masked.words == 0).mean() < 0.5
            assert not zero.words.any()
            total += masked.words
        assert not (total & limit).any()


def test_no_two_blocks_use_the_same_part_of_a_stream(settings) -> None:
    layout = Layout.of(settings(8188 * 40, cohort_cap=16))
    mask = PairMask(b"k" * 32, adds=True)
    words = [
        add_masks(
            PackedUpdate(np.zeros((block.ciphertexts, block.coefficients), np.uint64)),
            [mask],
            layout=layout,
            block=block,
        ).words
        for block in layout.blocks()
    ]
    whole = key_stream(mask.key, first_word=0, words=layout.ciphertexts * RING_DEGREE)
    limit = np.uint64(2**layout.parameters.plain_bits - 1)
    np.testing.assert_array_equal(np.concatenate([w.ravel() for w in words]), whole & limit)
    assert np.unique(whole).size == whole.size


def test_check_words_add_up_and_differ_by_client_vector_settings_ciphertext_and_secret(
    new_world, settings
) -> None:
    session, layout = new_world().session, Layout.of(settings(8188 * 3, cohort_cap=16))
    other_layout = Layout.of(settings(8188 * 3, cohort_cap=16, value_limit=2.0))

    def words(clients, *, secret: bytes = b"g" * 32, label: Label = LABEL, of: Layout = layout) -> np.ndarray:
        return check_words(secret, clients, session=session, label=label, layout=of)

    ana, ben = words(["ana"]), words(["ben"])
    assert ana.shape == (3, CHECK_WORDS)
    limit = np.uint64(2**layout.parameters.plain_bits - 1)
    np.testing.assert_array_equal((ana + ben) & limit, words(["ben", "ana"]))
    others = [
        ben,
        words(["ana"], secret=b"h" * 32),
        words(["ana"], label=Label("train", 2, b"m" * 32)),
        words(["ana"], of=other_layout),
    ]
    everything = np.concatenate([ana, *others]).ravel()
    assert np.unique(everything).size == everything.size
