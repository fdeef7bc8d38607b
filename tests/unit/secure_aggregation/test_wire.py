from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError, SetupError, UsageError
from fedstyle_secure.secure_aggregation.framing import Reader, join
from fedstyle_secure.secure_aggregation.keys import SIGNATURE_BYTES
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.wire import (
    AGGREGATOR,
    LARGEST_ENVELOPE_BYTES,
    SETUP,
    Label,
    MessageKind,
    Session,
    read_from_aggregator,
    read_from_client,
    read_place,
    verify_copy,
    write_as_aggregator,
    write_as_client,
)

LABEL = Label("train", 3, b"m" * 32, epoch=2, slot=5)
SIZE_AT, NAMES_AT = 82, 90  # where the payload's size and the four names stand


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
        MessageKind.SHARE_DELIVERY, [b"payload"], session=world.session, recipient="ben", label=LABEL
    )
    message = read_from_aggregator(
        data,
        kind=MessageKind.SHARE_DELIVERY,
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
        ("session", {"session": lambda w: replace(w.session, session_id=b"another session!")}, {}),
        ("policy", {"session": lambda w: replace(w.session, policy_hash=b"q" * 32)}, {}),
        ("kind of message", {"kind": lambda w: MessageKind.SHARES}, {}),
        ("sender", {"identity": lambda w: w.identities["ben"]}, {}),
        ("recipient", {"recipient": lambda w: "ben"}, {}),
        ("recipient", {}, {"recipient": "ben"}),
        ("stage", {"label": lambda w: replace(LABEL, stage="centre")}, {}),
        ("round", {"label": lambda w: replace(LABEL, round_number=4)}, {}),
        ("model", {"label": lambda w: replace(LABEL, model_hash=b"n" * 32)}, {}),
        ("set-up", {"label": lambda w: replace(LABEL, epoch=1)}, {}),
        ("slot", {"label": lambda w: replace(LABEL, slot=4)}, {}),
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
        (lambda d: d[:SIZE_AT] + struct.pack("<Q", 2**63) + d[NAMES_AT:], "payload is larger"),
        (lambda d: d[:SIZE_AT] + struct.pack("<Q", 8) + d[NAMES_AT:], "ends too early"),
        (lambda d: d[:SIZE_AT] + struct.pack("<Q", 6) + d[NAMES_AT:], "follows its end"),
        (lambda d: d[:NAMES_AT] + b"\xff" + d[NAMES_AT + 1 :], "field is too long"),
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
    "change",
    [
        {"stage": ""},
        {"stage": "Train"},
        {"stage": "a b"},
        {"stage": "train\n"},
        {"stage": "t" * 65},
        {"round_number": -1},
        {"round_number": 2**32},
        {"epoch": -1},
        {"epoch": 2**32},
        {"slot": -1},
        {"slot": 2**32},
        {"model_hash": bytes(31)},
    ],
)
def test_impossible_labels_are_refused(change) -> None:
    with pytest.raises(UsageError):
        replace(LABEL, **change)


def test_a_label_says_what_it_is_about_and_binds_all_of_it() -> None:
    assert str(LABEL) == "train, round 3"
    assert LABEL.place == ("train", 3)
    others = [
        replace(LABEL, stage="centre"),
        replace(LABEL, round_number=4),
        replace(LABEL, epoch=3),
        replace(LABEL, slot=6),
        replace(LABEL, model_hash=b"n" * 32),
        replace(LABEL, epoch=5, slot=2),
    ]
    assert len({join(label.to_fields()) for label in (LABEL, *others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"session_id": bytes(15)}, "16 to 64 bytes"),
        ({"session_id": bytes(65)}, "16 to 64 bytes"),
        ({"policy_hash": b""}, "32 bytes"),
        ({"slots": 0}, "1 to 1024 sums"),
        ({"slots": 1025}, "1 to 1024 sums"),
    ],
)
def test_impossible_sessions_are_refused(world, change, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        replace(world.session, **change)
    assert reason in caught.value.message


def test_a_roster_that_is_too_small_for_the_quorum_is_refused_at_once(world) -> None:
    with pytest.raises(SetupError) as caught:
        Session(world.session_id, world.policy_hash, world.roster, Quorum(minimum=4, colluding=0))
    assert caught.value.code is ErrorCode.ROSTER_INVALID


def test_bindings_cannot_be_confused_by_moving_a_boundary(world) -> None:
    session = world.session
    assert session.binding("mask", b"ab", b"c") != session.binding("mask", b"a", b"bc")
    assert session.binding("mask", b"a") != session.binding("mas", b"ka")
    assert join([b"ab", b""]) != join([b"", b"ab"])


def test_a_binding_holds_all_that_a_session_agrees_on(world, new_world) -> None:
    session = world.session
    others = [
        replace(session, session_id=b"another session!"),
        replace(session, policy_hash=b"q" * 32),
        replace(session, roster=new_world().roster),
        replace(session, quorum=Quorum(minimum=3, colluding=0)),
        replace(session, quorum=Quorum(minimum=2, colluding=1)),
        replace(session, slots=17),
    ]
    assert len({one.binding("mask") for one in (session, *others)}) == 1 + len(others)


def test_a_set_ups_messages_have_a_place_of_their_own(world) -> None:
    assert world.session.setup_label(0) == SETUP
    assert world.session.setup_label(3) == replace(SETUP, epoch=3)


def signature_of(message: bytes) -> bytes:
    return message[-SIGNATURE_BYTES:]


def test_a_signature_is_enough_for_whoever_knows_the_message(world) -> None:
    arguments = {"session": world.session, "sender": "ana", "label": LABEL}
    signature = signature_of(from_ana(world))
    verify_copy(signature, MessageKind.UPLOAD, [b"pay", b"load"], **arguments)
    verify_copy(signature, MessageKind.UPLOAD, [b"payload"], **arguments)
    wrong = [
        (signature, MessageKind.UPLOAD, [b"payloae"], {}),
        (signature, MessageKind.CONFIRMATION, [b"payload"], {}),
        (signature, MessageKind.UPLOAD, [b"payload"], {"sender": "ben"}),
        (signature, MessageKind.UPLOAD, [b"payload"], {"label": replace(LABEL, slot=4)}),
        (
            signature,
            MessageKind.UPLOAD,
            [b"payload"],
            {"session": replace(world.session, policy_hash=bytes(32))},
        ),
        (signature_of(from_ana(world, recipient="ben")), MessageKind.UPLOAD, [b"payload"], {}),
        (bytes(64), MessageKind.UPLOAD, [b"payload"], {}),
        (b"", MessageKind.UPLOAD, [b"payload"], {}),
    ]
    for given, kind, payload, change in wrong:
        error = refusal(verify_copy, given, kind, payload, **(arguments | change))
        assert error.code is ErrorCode.SIGNATURE_INVALID
        assert change.get("sender", "ana") in error.message


def confirmations(world, payload: bytes = b"", **changes) -> bytes:
    arguments = {"session": world.session, "label": LABEL} | changes
    return write_as_aggregator(arguments.pop("kind", MessageKind.CONFIRMATIONS), [payload], **arguments)


def test_the_place_of_an_aggregators_message_is_read_before_its_content(world) -> None:
    def place(data: bytes) -> Label:
        return read_place(data, kind=MessageKind.CONFIRMATIONS, session=world.session)

    assert place(confirmations(world)) == LABEL
    assert place(confirmations(world, bytes(65 * 3))) == LABEL
    refused = {
        confirmations(world, bytes(65 * 3 + 1)): "payload is larger",
        confirmations(world, kind=MessageKind.SURVIVORS): "wrong kind of message",
        confirmations(world, session=replace(world.session, policy_hash=bytes(32))): "wrong policy",
        confirmations(world, recipient="ben"): "wrong recipient",
        from_ana(world): "a client's message",
        confirmations(world)[:-1]: "ends too early",
    }
    for data, reason in refused.items():
        assert reason in refusal(place, data).message


def test_no_envelope_is_longer_than_the_limit_says(new_world) -> None:
    name = "n" * 128
    world = new_world((name, "ben"), session_id=bytes(64))
    label = Label("s" * 64, 2**32 - 1, b"m" * 32, 2**32 - 1, 2**32 - 1)
    data = write_as_client(
        MessageKind.UPLOAD,
        [],
        session=world.session,
        identity=world.identities[name],
        recipient=name,
        label=label,
    )
    assert len(data) == LARGEST_ENVELOPE_BYTES


def test_a_reader_never_reads_past_the_end() -> None:
    for call in (lambda r: r.take(4), lambda r: r.integer(4), lambda r: r.prefixed(longest=9)):
        assert refusal(call, Reader(b"\x01\x02\x03")).code is ErrorCode.MESSAGE_MALFORMED
    assert refusal(lambda: Reader(b"\x09\x00\x00\x00" + bytes(9)).prefixed(longest=8)).message
