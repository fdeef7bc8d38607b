from __future__ import annotations

import copy
import pickle

import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.encryption import BfvKey
from fedstyle_secure.secure_aggregation.key_exchange import (
    SEALED_KEY_BYTES,
    PairSecret,
    SessionKey,
    open_sealed_key,
    seal_key,
)
from fedstyle_secure.secure_aggregation.wire import Session


@pytest.fixture
def pairs() -> tuple[PairSecret, PairSecret]:
    """The two views of one pair."""
    ours, theirs = SessionKey(), SessionKey()
    return ours.agree("ben", theirs.public_key), theirs.agree("ana", ours.public_key)


def test_both_sides_agree_on_a_secret(pairs) -> None:
    assert pairs[0].shared_secret == pairs[1].shared_secret
    assert pairs[0].own_public_key == pairs[1].peer_public_key


@pytest.mark.parametrize("public_key", [bytes(32), b"\x01" + bytes(31), bytes(31)])
def test_keys_of_low_order_and_wrong_size_are_refused(public_key: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        SessionKey().agree("ben", public_key)
    assert caught.value.code is ErrorCode.MESSAGE_MALFORMED
    assert "ben" in str(caught.value)


def test_the_recipient_opens_what_was_sealed(new_world, pairs) -> None:
    session, key = new_world().session, BfvKey.generate()
    sealed = seal_key(key, pairs[0], session=session, sender="ana", recipient="ben")
    assert len(sealed) == SEALED_KEY_BYTES
    assert key.to_bytes()[:16] not in sealed
    opened = open_sealed_key(sealed, pairs[1], session=session, sender="ana", recipient="ben")
    assert opened.to_bytes() == key.to_bytes()


def test_a_box_opens_for_one_session_sender_recipient_and_pair_only(new_world, pairs) -> None:
    world = new_world()
    session = world.session
    sealed = seal_key(BfvKey.generate(), pairs[0], session=session, sender="ana", recipient="ben")
    right = {"sealed": sealed, "pair": pairs[1], "session": session, "sender": "ana", "recipient": "ben"}
    stranger = SessionKey().agree("ana", SessionKey().public_key)
    wrong = [
        {"session": Session(b"another session!", session.policy_hash, world.roster)},
        {"session": Session(session.session_id, b"q" * 32, world.roster)},
        {"session": Session(session.session_id, session.policy_hash, new_world().roster)},
        {"sender": "cem"},
        {"recipient": "cem"},
        {"sender": "ben", "recipient": "ana"},
        {"pair": stranger},
        {"pair": pairs[0]},
        {"sealed": sealed[:-1] + bytes([sealed[-1] ^ 1])},
        {"sealed": bytes([sealed[0] ^ 1]) + sealed[1:]},
    ]
    for change in wrong:
        with pytest.raises(ProtocolError) as caught:
            open_sealed_key(**(right | change))
        assert caught.value.code is ErrorCode.SIGNATURE_INVALID
    for size in (0, 27, len(sealed) - 1):
        with pytest.raises(ProtocolError) as caught:
            open_sealed_key(**(right | {"sealed": sealed[:size]}))
        assert caught.value.code is ErrorCode.MESSAGE_MALFORMED


def test_sealing_twice_gives_different_bytes(new_world, pairs) -> None:
    session, key = new_world().session, BfvKey.generate()
    boxes = {seal_key(key, pairs[0], session=session, sender="ana", recipient="ben") for _ in range(3)}
    assert len(boxes) == 3


def test_secrets_are_neither_shown_nor_copied(pairs) -> None:
    key, session_key = BfvKey.generate(), SessionKey()
    secrets = [key.to_bytes(), session_key._private_key.private_bytes_raw(), pairs[0].shared_secret]
    for holder in (key, session_key, pairs[0]):
        shown = repr(holder)
        assert not any(secret[:8].hex() in shown or repr(secret[:8])[2:-1] in shown for secret in secrets)
        for copier in (pickle.dumps, copy.copy):
            with pytest.raises(TypeError):
                copier(holder)
