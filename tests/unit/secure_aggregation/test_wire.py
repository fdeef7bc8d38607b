from __future__ import annotations

import struct

import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError, UsageError
from fedstyle_secure.secure_aggregation.framing import Reader, join
from fedstyle_secure.secure_aggregation.wire import (
    AGGREGATOR,
    SETUP,
    Label,
    MessageKind,
    Session,
    read_from_aggregator,
    read_from_client,
    write_as_aggregator,
    write_as_client,
)

LABEL = Label("train", 3, b"m" * 32)


@pytest.fixture
def world(new_world):
    """Three clients who have not exchanged anything."""
    return new_world()


def from_ana(world, **changes) -> bytes:
    arguments = {"session": world.session, "identity": world.identities["ana"], "label": LABEL} | changes
    return write_as_client(arguments.pop("kind", MessageKind.UPLOAD), [b"pay", b"load"], **arguments)


def read(world, data: bytes, **changes):
    arguments = {
        "kinds": [MessageKind.UPLOAD],
        "session": world.session,
        "sender": "ana",
        "label": LABEL,
        "payload_limit_bytes": 100,
    } | changes
    return read_from_client(data, **arguments)


def refusal(call, *arguments, **keywords) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        call(*arguments, **keywords)
    return caught.value


def test_a_message_comes_back_as_it_was_written(world) -> None:
    kind, message = read(world, from_ana(world))
    assert kind is MessageKind.UPLOAD
    assert (message.sender, message.recipient, message.label) == ("ana", AGGREGATOR, LABEL)
    assert bytes(message.payload) == b"payload"


def test_a_message_of_the_aggregator_comes_back_too(world) -> None:
    data = write_as_aggregator(
        MessageKind.KEY_DELIVERY, [b"payload"], session=world.session, recipient="ben", label=LABEL
    )
    message = read_from_aggregator(
        data,
        kind=MessageKind.KEY_DELIVERY,
        session=world.session,
        recipient="ben",
        label=LABEL,
        payload_limit_bytes=7,
    )
    assert bytes(message.payload) == b"payload"
    assert message.sender == AGGREGATOR


@pytest.mark.parametrize(
    ("what", "written", "expected"),
    [
        ("session", {"session": lambda w: Session(b"another session!", b"p" * 32, w.roster)}, {}),
        ("policy", {"session": lambda w: Session(w.session_id, b"q" * 32, w.roster)}, {}),
        ("kind of message", {"kind": lambda w: MessageKind.SEALED_KEY}, {}),
        ("sender", {"identity": lambda w: w.identities["ben"]}, {}),
        ("recipient", {"recipient": lambda w: "ben"}, {}),
        ("recipient", {}, {"recipient": "ben"}),
        ("stage", {"label": lambda w: Label("centre", 3, b"m" * 32)}, {}),
        ("round", {"label": lambda w: Label("train", 4, b"m" * 32)}, {}),
        ("model", {"label": lambda w: Label("train", 3, b"n" * 32)}, {}),
    ],
)
def test_a_signed_message_in_the_wrong_place_is_refused_by_name(world, what, written, expected) -> None:
    data = from_ana(world, **{key: make(world) for key, make in written.items()})
    error = refusal(read, world, data, **expected)
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert f"the wrong {what}" in error.message


def test_a_stranger_is_refused(world, new_world) -> None:
    stranger = new_world(("eve", "fay")).identities["eve"]
    error = refusal(read, world, from_ana(world, identity=stranger))
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "eve is not on the roster" in error.message


def test_posing_as_another_client_is_refused(world, new_world) -> None:
    impostor = new_world(("ana", "fay")).identities["ana"]
    error = refusal(read, world, from_ana(world, identity=impostor))
    assert error.code is ErrorCode.SIGNATURE_INVALID
    assert "ana" in error.message


def test_every_single_bit_is_signed(world) -> None:
    data = from_ana(world)
    for position in range(len(data)):
        for bit in (0, 7):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            assert refusal(read, world, bytes(changed)).code in {
                ErrorCode.MESSAGE_MALFORMED,
                ErrorCode.MESSAGE_UNEXPECTED,
                ErrorCode.SIGNATURE_INVALID,
            }


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: b"", "ends too early"),
        (lambda d: d[:-1], "ends too early"),
        (lambda d: d + b"x", "follows its end"),
        (lambda d: b"NOPE" + d[4:], "not a message"),
        (lambda d: d[:4] + b"\x02" + d[5:], "version is 2"),
        (lambda d: d[:5] + b"\x09" + d[6:], "kind 9 is unknown"),
        (lambda d: d[:74] + struct.pack("<Q", 2**63) + d[82:], "payload is larger"),
        (lambda d: d[:82] + b"\xff" + d[83:], "field is too long"),
        (lambda d: d.replace(b"\x05train", b"\x05Train"), "stage is not a name"),
        (lambda d: d.replace(b"\x05train", b"\x05trai\xff"), "stage is not a name"),
        (lambda d: d.replace(b"\x03ana", b"\x03an\xff"), "not UTF-8"),
        (lambda d: d.replace(b"\x03ana", b"\x03an\n"), "cannot be printed"),
        (lambda d: d + bytes(10_000), "larger than any message"),
        (list, "not bytes"),
    ],
)
def test_bytes_that_cannot_be_read_are_refused_with_the_reason(world, change, reason: str) -> None:
    error = refusal(read, world, change(from_ana(world)))
    assert error.code is ErrorCode.MESSAGE_MALFORMED
    assert reason in error.message


def test_the_size_limit_comes_before_everything_else(world) -> None:
    huge = bytes(50_000_000)
    assert "larger than any message" in refusal(read, world, huge).message


def test_damage_to_an_unsigned_message_is_noticed(world) -> None:
    data = write_as_aggregator(MessageKind.SUM, [b"payload"], session=world.session, label=LABEL)
    arguments = {
        "kind": MessageKind.SUM,
        "session": world.session,
        "label": LABEL,
        "payload_limit_bytes": 100,
    }
    read_from_aggregator(data, **arguments)
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]
        assert refusal(read_from_aggregator, changed, **arguments).code in {
            ErrorCode.MESSAGE_MALFORMED,
            ErrorCode.MESSAGE_UNEXPECTED,
        }


def test_neither_side_can_stand_in_for_the_other(world) -> None:
    answer = write_as_aggregator(MessageKind.SUM, [b"payload"], session=world.session, label=LABEL)
    assert refusal(read, world, answer).code is ErrorCode.MESSAGE_UNEXPECTED
    error = refusal(
        read_from_aggregator,
        from_ana(world),
        kind=MessageKind.SUM,
        session=world.session,
        label=LABEL,
        payload_limit_bytes=100,
    )
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED


@pytest.mark.parametrize(
    "arguments",
    [
        ("", 0, bytes(32)),
        ("Train", 0, bytes(32)),
        ("a b", 0, bytes(32)),
        ("train\n", 0, bytes(32)),
        ("t" * 65, 0, bytes(32)),
        ("train", -1, bytes(32)),
        ("train", 2**32, bytes(32)),
        ("train", 0, bytes(31)),
    ],
)
def test_impossible_labels_are_refused(arguments) -> None:
    with pytest.raises(UsageError):
        Label(*arguments)


@pytest.mark.parametrize(
    ("session_id", "policy_hash"), [(bytes(15), bytes(32)), (bytes(65), bytes(32)), (bytes(16), b"")]
)
def test_impossible_sessions_are_refused(world, session_id: bytes, policy_hash: bytes) -> None:
    with pytest.raises(UsageError):
        Session(session_id, policy_hash, world.roster)


def test_bindings_cannot_be_confused_by_moving_a_boundary(world) -> None:
    session = world.session
    assert session.binding("mask", b"ab", b"c") != session.binding("mask", b"a", b"bc")
    assert session.binding("mask", b"a") != session.binding("mas", b"ka")
    assert join([b"ab", b""]) != join([b"", b"ab"])


def test_a_reader_never_reads_past_the_end() -> None:
    for call in (lambda r: r.take(4), lambda r: r.integer(4), lambda r: r.prefixed(longest=9)):
        assert refusal(call, Reader(b"\x01\x02\x03")).code is ErrorCode.MESSAGE_MALFORMED
    assert refusal(lambda: Reader(b"\x09\x00\x00\x00" + bytes(9)).prefixed(longest=8)).message
    assert SETUP.stage == "setup"
