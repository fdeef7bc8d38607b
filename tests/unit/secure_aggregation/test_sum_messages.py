from __future__ import annotations

from dataclasses import replace

import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.secret_sharing import SECRET_BYTES
from fedstyle_secure.secure_aggregation.sum_messages import (
    SurvivorList,
    read_survivors,
    read_unmasking,
    write_survivors,
    write_unmasking,
)
from fedstyle_secure.secure_aggregation.wire import Label, MessageKind, write_as_aggregator, write_as_client
from tests.secure_sums import make_world

NAMES = ("ana", "ben", "cem", "dia", "eli")
WORLD = make_world(NAMES)
IDENTITIES, SESSION = WORLD.identities, WORLD.session
LABEL = Label("train", 1, b"m" * 32, epoch=2, slot=3)
FOUR = SurvivorList(SESSION, b"c" * 32, LABEL, NAMES[:4])


def refusal(call, *arguments, **keywords) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        call(*arguments, **keywords)
    return caught.value


# Survivors


def test_a_survivor_list_comes_back() -> None:
    assert read_survivors(write_survivors(FOUR), session=SESSION) == (LABEL, NAMES[:4])


@pytest.mark.parametrize("payload", [b"", b"\x0f\0", b"\x2f"])
def test_a_survivor_list_of_another_form_is_refused(payload: bytes) -> None:
    message = write_as_aggregator(MessageKind.SURVIVORS, [payload], session=SESSION, label=LABEL)
    assert refusal(read_survivors, message, session=SESSION).code is ErrorCode.MESSAGE_MALFORMED


def test_a_survivor_list_with_too_few_names_who_is_missing() -> None:
    message = write_survivors(replace(FOUR, clients=("ana", "eli")))
    error = refusal(read_survivors, message, session=SESSION)
    assert error.code is ErrorCode.COHORT_INCOMPLETE
    assert (
        error.message
        == "2 clients took part in the sum of train, round 1, and 3 are needed; ben, cem, dia did not"
    )


def test_what_survivors_sign_is_the_set_up_the_list_and_the_place() -> None:
    statement = FOUR.statement
    assert statement.content == b"c" * 32 + b"\x0f"
    assert (statement.label, statement.session, statement.signers) == (LABEL, SESSION, NAMES[:4])
    assert (statement.kind, statement.answer_kind) == (MessageKind.CONFIRMATION, MessageKind.CONFIRMATIONS)
    for other in (
        replace(FOUR, clients=NAMES),
        replace(FOUR, cohort=b"d" * 32),
        replace(FOUR, label=replace(LABEL, slot=2)),
    ):
        message = other.statement.sign(IDENTITIES["ana"])
        assert refusal(statement.read_signed, message).code in {
            ErrorCode.SURVIVORS_INCONSISTENT,
            ErrorCode.MESSAGE_UNEXPECTED,
        }


# Unmasking

HELD = {"ana": ["ana", "ben", "eli"], "ben": ["ben"], "cem": ["ana", "cem"], "dia": ["dia", "eli"]}


def unmasking(name: str, shares: int, *, survivors: SurvivorList = FOUR) -> bytes:
    data = b"".join(bytes([place]) * SECRET_BYTES for place in range(shares))
    return write_unmasking(data, survivors=survivors, identity=IDENTITIES[name])


def test_revealed_shares_come_back_under_their_owners() -> None:
    for name, owners in HELD.items():
        sender, shares = read_unmasking(unmasking(name, len(owners)), survivors=FOUR, held=HELD)
        assert sender == name
        assert list(shares) == owners
        assert list(shares.values()) == [bytes([place]) * SECRET_BYTES for place in range(len(owners))]


@pytest.mark.parametrize(("name", "shares"), [("ana", 0), ("ana", 2), ("ben", 0), ("ben", 2), ("ana", 4)])
def test_another_number_of_shares_is_refused(name: str, shares: int) -> None:
    error = refusal(read_unmasking, unmasking(name, shares), survivors=FOUR, held=HELD)
    assert error.code is ErrorCode.MESSAGE_MALFORMED


def test_half_a_share_is_refused() -> None:
    message = write_as_client(
        MessageKind.UNMASKING, [bytes(95)], session=SESSION, identity=IDENTITIES["ana"], label=LABEL
    )
    error = refusal(read_unmasking, message, survivors=FOUR, held=HELD)
    assert error.code is ErrorCode.MESSAGE_MALFORMED


def test_only_survivors_of_this_sum_unmask_it() -> None:
    error = refusal(read_unmasking, unmasking("eli", 1), survivors=FOUR, held=HELD)
    assert error.code is ErrorCode.SURVIVORS_INCONSISTENT
    assert error.message == "eli is not on the survivor list of train, round 1"
    late = unmasking("ana", 3, survivors=replace(FOUR, label=replace(LABEL, slot=4)))
    error = refusal(read_unmasking, late, survivors=FOUR, held=HELD)
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "a message of ana has the wrong slot" in error.message
