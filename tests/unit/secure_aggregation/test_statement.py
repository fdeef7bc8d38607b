from __future__ import annotations

from dataclasses import replace

import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.client_sets import write_clients
from fedstyle_secure.secure_aggregation.keys import SIGNATURE_BYTES
from fedstyle_secure.secure_aggregation.statement import Statement
from fedstyle_secure.secure_aggregation.wire import Label, MessageKind, write_as_aggregator, write_as_client
from tests.secure_sums import make_world

NAMES = ("ana", "ben", "cem", "dia", "eli")
WORLD = make_world(NAMES)  # three are enough
IDENTITIES, SESSION = WORLD.identities, WORLD.session
LABEL = Label("train", 1, b"m" * 32, epoch=2, slot=3)
STATEMENT = Statement(
    kind=MessageKind.CONFIRMATION,
    answer_kind=MessageKind.CONFIRMATIONS,
    session=SESSION,
    label=LABEL,
    content=b"c" * 33,
    signers=NAMES[:4],
    what="confirming who is in the sum",
)

# Every statement that is not STATEMENT, each different in one thing.
OTHERS = {
    "content": replace(STATEMENT, content=b"d" * 33),
    "round": replace(STATEMENT, label=replace(LABEL, round_number=2)),
    "slot": replace(STATEMENT, label=replace(LABEL, slot=4)),
    "set-up": replace(STATEMENT, label=replace(LABEL, epoch=1)),
    "session": replace(STATEMENT, session=replace(SESSION, session_id=b"another session!")),
    "kind of message": replace(STATEMENT, kind=MessageKind.AGREEMENT, answer_kind=MessageKind.AGREEMENTS),
}


def refusal(call, *arguments) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        call(*arguments)
    return caught.value


def signature(name: str, statement: Statement = STATEMENT) -> bytes:
    return statement.sign(IDENTITIES[name])[-SIGNATURE_BYTES:]


def signatures(*names: str) -> dict[str, bytes]:
    return {name: signature(name) for name in names}


def test_a_signed_statement_comes_back_with_its_signature() -> None:
    message = STATEMENT.sign(IDENTITIES["cem"])
    assert STATEMENT.read_signed(message) == ("cem", signature("cem"))
    # The signature is a function of what is signed: a client that signs again says the same.
    assert message == STATEMENT.sign(IDENTITIES["cem"])


@pytest.mark.parametrize("other", OTHERS)
def test_a_signature_under_another_statement_is_refused_by_name(other: str) -> None:
    error = refusal(STATEMENT.read_signed, OTHERS[other].sign(IDENTITIES["cem"]))
    if other == "content":
        assert error.code is ErrorCode.SURVIVORS_INCONSISTENT
        assert error.message == "cem has signed something else, confirming who is in the sum"
    else:
        assert error.code is ErrorCode.MESSAGE_UNEXPECTED
        assert f"a message of cem has the wrong {other}" in error.message


@pytest.mark.parametrize("content", [b"", b"c" * 32, b"c" * 34])
def test_content_of_another_size_is_refused(content: bytes) -> None:
    message = replace(STATEMENT, content=content).sign(IDENTITIES["cem"])
    assert refusal(STATEMENT.read_signed, message).code in {
        ErrorCode.SURVIVORS_INCONSISTENT,
        ErrorCode.MESSAGE_MALFORMED,
    }


def test_only_those_who_may_sign_do() -> None:
    error = refusal(STATEMENT.read_signed, STATEMENT.sign(IDENTITIES["eli"]))
    assert error.code is ErrorCode.SURVIVORS_INCONSISTENT
    assert error.message == "eli has no part in confirming who is in the sum"


@pytest.mark.parametrize("names", [NAMES[:3], NAMES[:4], ("ana", "cem", "dia")])
def test_enough_signatures_under_the_same_statement_pass(names: tuple[str, ...]) -> None:
    STATEMENT.require_signatures(STATEMENT.write_signatures(signatures(*names)))


def relayed(collected: dict[str, bytes], statement: Statement = STATEMENT) -> bytes:
    """What an aggregator can send, whatever `write_signatures` would refuse."""
    ordered = [collected[name] for name in NAMES if name in collected]
    return write_as_aggregator(
        statement.answer_kind,
        [write_clients(SESSION, collected), *ordered],
        session=statement.session,
        label=statement.label,
    )


def test_too_few_signatures_are_refused_on_both_sides_and_name_who_is_missing() -> None:
    few = signatures("ana", "dia")
    for error in (
        refusal(STATEMENT.write_signatures, few),
        refusal(STATEMENT.require_signatures, relayed(few)),
    ):
        assert error.code is ErrorCode.COHORT_INCOMPLETE
        assert error.message == (
            "2 clients took part in confirming who is in the sum, and 3 are needed; ben, cem, eli did not"
        )


@pytest.mark.parametrize("other", OTHERS)
def test_one_signature_under_another_statement_among_enough_others_is_refused(other: str) -> None:
    spoilt = signatures(*NAMES[:4]) | {"cem": signature("cem", OTHERS[other])}
    error = refusal(STATEMENT.require_signatures, relayed(spoilt))
    assert error.code is ErrorCode.SIGNATURE_INVALID
    assert "cem" in error.message


@pytest.mark.parametrize("other", ["round", "slot", "set-up", "session", "kind of message"])
def test_all_signatures_of_another_statement_are_refused(other: str) -> None:
    statement = OTHERS[other]
    message = relayed({name: signature(name, statement) for name in NAMES[:3]}, statement)
    statement.require_signatures(message)
    error = refusal(STATEMENT.require_signatures, message)
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert f"the wrong {other}" in error.message


def test_a_signature_counts_for_its_signer_alone() -> None:
    for change in ({"ben": signature("ana")}, {"ana": signature("ben"), "ben": signature("ana")}):
        error = refusal(STATEMENT.require_signatures, relayed(signatures(*NAMES[:3]) | change))
        assert error.code is ErrorCode.SIGNATURE_INVALID


def test_a_signer_who_has_no_part_in_it_is_refused() -> None:
    error = refusal(STATEMENT.require_signatures, relayed(signatures("ana", "ben", "eli")))
    assert error.code is ErrorCode.SURVIVORS_INCONSISTENT


@pytest.mark.parametrize(
    "payload",
    [
        [],
        [write_clients(SESSION, NAMES[:3])],
        [write_clients(SESSION, NAMES[:3]), *signatures(*NAMES[:2]).values()],
        [write_clients(SESSION, NAMES[:3]), *signatures(*NAMES[:4]).values()],
        [write_clients(SESSION, NAMES[:3]), *signatures(*NAMES[:3]).values(), b"\0"],
        [b"\xe7", *signatures(*NAMES[:3]).values()],
    ],
)
def test_signatures_of_another_number_than_signers_are_refused(payload: list[bytes]) -> None:
    message = write_as_aggregator(MessageKind.CONFIRMATIONS, payload, session=SESSION, label=LABEL)
    assert refusal(STATEMENT.require_signatures, message).code is ErrorCode.MESSAGE_MALFORMED


def test_a_clients_own_message_is_no_relay_of_signatures() -> None:
    message = write_as_client(
        MessageKind.CONFIRMATION, [], session=SESSION, identity=IDENTITIES["ana"], label=LABEL
    )
    assert refusal(STATEMENT.require_signatures, message).code is ErrorCode.MESSAGE_UNEXPECTED
