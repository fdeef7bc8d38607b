from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.key_exchange import (
    SEALING_BYTES,
    PairSecret,
    SessionKey,
    open_box,
    seal_box,
)
from fedstyle_secure.secure_aggregation.quorum import Quorum

SETUP = b"d" * 32
CONTENT = b"what only ben may read"


@pytest.fixture
def pairs() -> tuple[PairSecret, PairSecret]:
    """The two views of one pair."""
    ours, theirs = SessionKey(), SessionKey()
    return ours.agree("ben", theirs.public_key), theirs.agree("ana", ours.public_key)


@pytest.fixture
def session(new_world):
    return new_world().session


def seal(pair: PairSecret, session, content: bytes = CONTENT) -> bytes:
    return seal_box(content, pair, session=session, setup=SETUP, sender="ana", recipient="ben")


def test_both_sides_agree_on_a_secret(pairs) -> None:
    assert pairs[0].shared_secret == pairs[1].shared_secret
    assert pairs[0].own_public_key == pairs[1].peer_public_key


@pytest.mark.parametrize("public_key", [bytes(32), b"\x01" + bytes(31), bytes(31)])
def test_keys_of_low_order_and_wrong_size_are_refused(public_key: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        SessionKey().agree("ben", public_key)
    assert caught.value.code is ErrorCode.MESSAGE_MALFORMED
    assert "ben" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"x", CONTENT, bytes(5000)])
def test_the_recipient_opens_what_was_sealed(session, pairs, content: bytes) -> None:
    box = seal(pairs[0], session, content)
    assert len(box) == len(content) + SEALING_BYTES
    assert len(content) < 8 or content[:8] not in box
    opened = open_box(box, pairs[1], session=session, setup=SETUP, sender="ana", recipient="ben")
    assert opened == content


def test_a_box_opens_for_one_session_set_up_direction_and_pair_only(new_world, session, pairs) -> None:
    box = seal(pairs[0], session)
    right = {
        "box": box,
        "pair": pairs[1],
        "session": session,
        "setup": SETUP,
        "sender": "ana",
        "recipient": "ben",
    }
    assert open_box(**right) == CONTENT
    stranger = SessionKey().agree("ana", SessionKey().public_key)
    wrong = [
        {"session": replace(session, session_id=b"another session!")},
        {"session": replace(session, policy_hash=b"q" * 32)},
        {"session": replace(session, roster=new_world().roster)},
        {"session": replace(session, quorum=Quorum(minimum=3, colluding=0))},
        {"session": replace(session, slots=17)},
        {"setup": b"e" * 32},
        {"sender": "cem"},
        {"recipient": "cem"},
        {"sender": "ben", "recipient": "ana"},
        {"pair": stranger},
        {"pair": pairs[0]},
        {"box": box[:-1] + bytes([box[-1] ^ 1])},
        {"box": bytes([box[0] ^ 1]) + box[1:]},
        {"box": box[:-1]},
        {"box": box[:SEALING_BYTES]},
        {"box": box + b"\0"},
    ]
    for change in wrong:
        with pytest.raises(ProtocolError) as caught:
            open_box(**(right | change))
        assert caught.value.code is ErrorCode.SIGNATURE_INVALID
        sender, recipient = change.get("sender", "ana"), change.get("recipient", "ben")
        assert f"the secrets that {sender} sealed for {recipient} do not open" in caught.value.message


def test_sealing_twice_gives_different_bytes(session, pairs) -> None:
    assert len({seal(pairs[0], session) for _ in range(3)}) == 3


def test_both_directions_of_a_pair_have_keys_of_their_own(session, pairs) -> None:
    """Else the aggregator could send a client's own box back to it as its peer's."""
    box = seal(pairs[0], session)
    with pytest.raises(ProtocolError) as caught:
        open_box(box, pairs[0], session=session, setup=SETUP, sender="ben", recipient="ana")
    assert caught.value.code is ErrorCode.SIGNATURE_INVALID


def test_secrets_are_neither_shown_nor_copied(pairs) -> None:
    session_key = SessionKey()
    secrets = [session_key._private_key.private_bytes_raw(), pairs[0].shared_secret]
    for holder in (session_key, pairs[0]):
        shown = repr(holder)
        assert not any(secret[:8].hex() in shown or repr(secret[:8])[2:-1] in shown for secret in secrets)
        for copier in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                copier(holder)
