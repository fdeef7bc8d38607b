from __future__ import annotations

import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.inbox import Inbox
from fedstyle_secure.secure_aggregation.keys import Identity

ANA, BEN = Identity.generate("ana"), Identity.generate("ben")


def signed(identity: Identity, content: bytes) -> bytes:
    return content + identity.sign(content)


def test_the_same_message_is_new_once() -> None:
    inbox = Inbox("uploads")
    assert inbox.is_new("ana", signed(ANA, b"one"))
    assert inbox.is_new("ben", signed(BEN, b"one"))
    for _ in range(2):
        assert not inbox.is_new("ana", signed(ANA, b"one"))
        assert not inbox.is_new("ben", signed(BEN, b"one"))


def test_another_message_of_the_same_sender_is_refused_and_the_first_one_stands() -> None:
    inbox = Inbox("shares its seeds")
    first, second = signed(ANA, b"one"), signed(ANA, b"two")
    assert inbox.is_new("ana", first)
    for _ in range(2):
        with pytest.raises(ProtocolError) as caught:
            inbox.is_new("ana", second)
        assert caught.value.code is ErrorCode.MESSAGE_REPLAYED
        assert caught.value.message == "ana shares its seeds twice, differently"
    assert not inbox.is_new("ana", first)
    assert inbox.is_new("ben", signed(BEN, b"two"))


def test_stages_do_not_know_of_one_another() -> None:
    message = signed(ANA, b"one")
    assert Inbox("uploads").is_new("ana", message)
    assert Inbox("confirms").is_new("ana", message)
