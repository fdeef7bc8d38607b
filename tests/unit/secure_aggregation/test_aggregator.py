"""The aggregator goes through its stages, names whose message it refuses, and is not changed by refusals."""

from __future__ import annotations

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError, SetupError, UsageError
from fedstyle_secure.secure_aggregation.aggregator import ProtocolStage
from fedstyle_secure.secure_aggregation.encoding import SETTINGS_BYTES
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.seal_files import SEED_BYTES
from fedstyle_secure.secure_aggregation.wire import (
    Label,
    MessageKind,
    read_from_client,
    write_as_client,
)
from tests.secure_sums import MODEL, World, exact_sum, make_settings, make_vectors, make_world

FOUR = ("ana", "ben", "cem", "dia")
SETTINGS = make_settings(10, cohort_cap=4)
VECTORS = make_vectors(FOUR, 10)
PLACE = {"stage": "train", "round_number": 1, "slot": 1, "model_hash": MODEL}


def refusal(call, *arguments, error: type = ProtocolError, **keywords):
    with pytest.raises(error) as caught:
        call(*arguments, **keywords)
    return caught.value


@pytest.fixture
def four() -> World:
    """Four clients of whom three are enough, ready for uploads."""
    return make_world(FOUR, slots=4).set_up()


def finish(world: World, uploads: dict[str, bytes]) -> None:
    """The rest of a sum, which opens to what was uploaded."""
    np.testing.assert_array_equal(world.finish(uploads).total.values, exact_sum(VECTORS, SETTINGS, uploads))


# Stages


def test_missing_clients_are_named_at_every_stage_and_may_still_come() -> None:
    world = make_world(FOUR, slots=2)

    def first_too_few_then_enough(stage: str, messages: dict[str, bytes]) -> dict[str, bytes]:
        few = {name: messages[name] for name in ("ana", "dia")}
        for given in (few, {}, few):
            error = refusal(world.aggregator.handle, stage, given)
            assert error.code is ErrorCode.COHORT_INCOMPLETE
            assert "2 clients took part in" in error.message
            assert error.message.endswith("and 3 are needed; ben, cem did not")
        return world.handle(stage, {"cem": messages["cem"]})

    answers = first_too_few_then_enough("advertise", world.advertise())
    assert set(answers) == {"ana", "cem", "dia"}
    world = make_world(FOUR, slots=2)
    answers = world.handle("advertise", world.advertise())
    answers = first_too_few_then_enough("share", world.share(answers))
    assert set(answers) == {"ana", "cem", "dia"}
    world = make_world(FOUR, slots=2)
    answers = world.handle("share", world.share(world.handle("advertise", world.advertise())))
    world.accept(first_too_few_then_enough("agree", world.agree(answers)))
    uploads = world.upload(VECTORS, SETTINGS)
    answers = first_too_few_then_enough("upload", uploads)
    assert set(answers) == {"ana", "cem", "dia"}
    world = make_world(FOUR, slots=2).set_up()
    answers = world.handle("upload", world.upload(VECTORS, SETTINGS))
    answers = first_too_few_then_enough("confirm", world.confirm(answers))
    assert set(answers) == set(FOUR)
    answers = first_too_few_then_enough("unmask", world.unmask(answers))
    np.testing.assert_array_equal(world.open(answers)["ben"].values, exact_sum(VECTORS, SETTINGS))


def test_without_any_upload_everybody_is_missing(four: World) -> None:
    error = refusal(four.aggregator.answer, "upload")
    assert error.code is ErrorCode.COHORT_INCOMPLETE
    assert error.message.endswith("ana, ben, cem, dia did not")


def test_stages_come_once_and_in_order() -> None:
    world = make_world(FOUR, slots=2)
    assert world.aggregator.threshold == 3
    every = [stage.value for stage in ProtocolStage]

    def refused_but(stage: str, messages: dict[str, bytes], *allowed: str) -> None:
        assert world.aggregator.stage == stage
        for other in (*every, "open", "", "ADVERTISE"):
            if other not in (stage, *allowed):
                for call in (
                    lambda other=other: world.aggregator.handle(other, messages),
                    lambda other=other: world.aggregator.answer(other),
                ):
                    assert refusal(call).code is ErrorCode.STAGE_OUT_OF_ORDER

    messages = world.advertise()
    refused_but("advertise", messages)
    messages = world.share(world.handle("advertise", messages))
    refused_but("share", messages)
    messages = world.agree(world.handle("share", messages))
    refused_but("agree", messages)
    world.accept(world.handle("agree", messages))
    messages = world.upload(VECTORS, SETTINGS)
    refused_but("upload", messages, "advertise")
    messages = world.confirm(world.handle("upload", messages))
    refused_but("confirm", messages)
    messages = world.unmask(world.handle("confirm", messages))
    refused_but("unmask", messages)
    world.open(world.handle("unmask", messages))
    refused_but("upload", messages, "advertise")
    error = refusal(world.aggregator.answer, "confirm")
    assert error.message == "the aggregator is asked for stage confirm, and waits for upload"


def test_one_at_a_time_is_as_good_as_all_at_once(four: World) -> None:
    uploads = four.upload(VECTORS, SETTINGS)
    for name in ("dia", "ana", "cem", "ben"):
        assert four.aggregator.receive(uploads[name]) == name
    messages = four.confirm(four.aggregator.answer("upload"))
    for name, message in messages.items():
        assert four.aggregator.receive(message) == name
    messages = four.unmask(four.aggregator.answer("confirm"))
    for name, message in messages.items():
        assert four.aggregator.receive(message) == name
    opened = four.open(four.aggregator.answer("unmask"))
    np.testing.assert_array_equal(opened["ana"].values, exact_sum(VECTORS, SETTINGS))


def test_the_same_bytes_are_taken_once_at_every_stage() -> None:
    world = make_world(FOUR, slots=2)

    def twice(stage: str, messages: dict[str, bytes]) -> dict[str, bytes]:
        for message in messages.values():
            world.aggregator.receive(message)
        return world.handle(stage, messages)

    world.accept(
        twice("agree", world.agree(twice("share", world.share(twice("advertise", world.advertise())))))
    )
    survivors = twice("upload", world.upload(VECTORS, SETTINGS))
    sums = twice("unmask", world.unmask(twice("confirm", world.confirm(survivors))))
    np.testing.assert_array_equal(world.open(sums)["ana"].values, exact_sum(VECTORS, SETTINGS))


def test_another_message_of_the_same_client_is_refused_and_the_first_one_stands() -> None:
    world = make_world(FOUR, slots=2)
    twin = World(world.identities, slots=2, session_id=world.session_id)
    messages = world.advertise()
    world.aggregator.receive(messages["ben"])
    error = refusal(world.aggregator.receive, twin.advertise()["ben"])
    assert error.code is ErrorCode.MESSAGE_REPLAYED
    assert error.message == "ben advertises twice, differently"
    messages = world.share(world.handle("advertise", messages))
    world.aggregator.receive(messages["ben"])
    _, read = read_from_client(
        messages["ben"], kinds=[MessageKind.SHARES], session=world.session, payload_limit_bytes=10**6
    )
    other = write_as_client(
        MessageKind.SHARES,
        [bytes(len(read.payload))],
        session=world.session,
        identity=world.identities["ben"],
    )
    error = refusal(world.aggregator.receive, other)
    assert error.code is ErrorCode.MESSAGE_REPLAYED
    assert error.message == "ben shares its seeds twice, differently"
    world.accept(world.handle("agree", world.agree(world.handle("share", messages))))


def test_messages_of_other_stages_are_refused_and_change_nothing() -> None:
    """At each stage the aggregator is sent everything that was ever sent, and nonsense."""
    world = make_world(FOUR, slots=2)
    past: list[bytes] = [b"", b"nonsense", bytes(10**4)]

    def after_the_past(stage: str, messages: dict[str, bytes]) -> dict[str, bytes]:
        for message in past:
            refusal(world.aggregator.receive, message)
        past.extend([*messages.values(), *(message[:-1] for message in messages.values())])
        answers = world.handle(stage, messages)
        past.extend(answers.values())
        return answers

    answers = after_the_past("share", world.share(after_the_past("advertise", world.advertise())))
    world.accept(after_the_past("agree", world.agree(answers)))
    for round_number in range(2):
        survivors = after_the_past("upload", world.upload(VECTORS, SETTINGS, round_number=round_number))
        confirmed = after_the_past("confirm", world.confirm(survivors))
        sums = after_the_past("unmask", world.unmask(confirmed))
        np.testing.assert_array_equal(world.open(sums)["dia"].values, exact_sum(VECTORS, SETTINGS))


def test_a_message_under_anothers_name_is_refused_by_name(four: World) -> None:
    uploads = four.upload(VECTORS, SETTINGS)
    for change in ({"ana": uploads["ben"]}, {"ana": uploads["ben"], "ben": uploads["ana"]}):
        error = refusal(four.aggregator.handle, "upload", uploads | change)
        assert error.code is ErrorCode.MESSAGE_UNEXPECTED
        assert "a message of ben stands where one of ana belongs" in error.message
    error = refusal(four.aggregator.handle, "upload", uploads | {"eve": uploads["ana"]})
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "eve" in error.message
    finish(four, uploads)


# Uploads


def one(world: World, name: str, **changes) -> bytes:
    """One client's upload, for a place of its own unless changed."""
    vectors = changes.pop("vectors", VECTORS)
    return world.upload({name: vectors[name]}, changes.pop("settings", SETTINGS), **changes)[name]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"round_number": 2, "slot": 2}, "ben uploads for train, round 2 while"),
        ({"stage": "centre"}, "ben uploads for centre, round 1 while"),
        ({"model_hash": b"n" * 32}, "ben uploads for another model"),
        ({"slot": 2}, "ben uploads for another model"),
        ({"settings": make_settings(10, cohort_cap=4, value_limit=2.0)}, "ben uploads under other settings"),
        ({"settings": make_settings(10, cohort_cap=5)}, "ben uploads under other settings"),
    ],
)
@pytest.mark.parametrize("stated", [False, True])
def test_uploads_that_do_not_belong_together_are_refused_by_name(
    four: World, change, reason: str, stated: bool
) -> None:
    """Whoever uploads first sets the sum, unless it was stated."""
    if stated:
        four.aggregator.begin_sum(**PLACE, settings=SETTINGS)
    else:
        four.aggregator.receive(one(four, "ana"))
    error = refusal(four.aggregator.receive, one(four, "ben", **change))
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert reason in error.message
    rest = ("ana", "cem", "dia") if stated else ("cem", "dia")
    for name in rest:
        four.aggregator.receive(one(four, name))
    assert set(four.aggregator.answer("upload")) == {"ana", "cem", "dia"}


def test_who_may_not_upload_does_not_set_the_sum_either() -> None:
    world = make_world(FOUR, slots=4).set_up(silent={"share": ["dia"]})
    stranger = signed_upload(world, payload_of(world, one(world, "cem", slot=3, stage="other")), "dia")
    error = refusal(world.aggregator.receive, stranger)
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert error.message == "dia uploads and has not finished the set-up"
    uploads = world.upload({name: VECTORS[name] for name in FOUR[:3]}, SETTINGS, round_number=2)
    finish(world, uploads)


def test_a_sum_is_stated_between_sums_only(four: World) -> None:
    begin = four.aggregator.begin_sum
    for world in (make_world(FOUR), four):
        if world is four:
            begin(**PLACE, settings=SETTINGS)
        error = refusal(world.aggregator.begin_sum, **PLACE, settings=SETTINGS)
        assert error.code is ErrorCode.STAGE_OUT_OF_ORDER
    uploads = four.upload(VECTORS, SETTINGS)
    survivors = four.handle("upload", uploads)
    assert refusal(begin, **PLACE, settings=SETTINGS).code is ErrorCode.STAGE_OUT_OF_ORDER
    four.handle("unmask", four.unmask(four.handle("confirm", four.confirm(survivors))))
    for change in ({}, {"slot": 2}, {"round_number": 2}, {"round_number": 2, "slot": 4}):
        error = refusal(begin, **(PLACE | change), settings=SETTINGS)
        assert error.code is ErrorCode.MESSAGE_REPLAYED
    begin(**(PLACE | {"round_number": 2, "slot": 2}), settings=SETTINGS)


def test_uploads_for_a_sum_that_is_done_are_refused(four: World) -> None:
    uploads = four.upload(VECTORS, SETTINGS)
    finish(four, uploads)
    error = refusal(four.aggregator.receive, uploads["ben"])
    assert error.code is ErrorCode.MESSAGE_REPLAYED
    assert error.message == "ben uploads for train, round 1, which has been summed already"
    four.aggregator.receive(one(four, "ana", round_number=2))
    assert "ben" in refusal(four.aggregator.receive, uploads["ben"]).message


@pytest.mark.parametrize("slot", [1, 4, 2**32 - 1])
def test_uploads_in_a_slot_that_is_used_up_or_none_are_refused(four: World, slot: int) -> None:
    finish(four, four.upload(VECTORS, SETTINGS))
    upload = payload_of(four, one(four, "ben", round_number=2))
    message = signed_upload(four, upload, label=Label("train", 2, MODEL, 0, slot))
    error = refusal(four.aggregator.receive, message)
    assert error.code is ErrorCode.MESSAGE_REPLAYED
    assert error.message == f"ben uploads in slot {slot}, which is used up or was never prepared"


def signed_upload(world: World, payload: bytes, name: str = "ben", *, label: Label | None = None) -> bytes:
    """An upload with any payload, rightly signed: what a malicious client can send."""
    return write_as_client(
        MessageKind.UPLOAD,
        [payload],
        session=world.session,
        identity=world.identities[name],
        label=label or Label("train", 1, MODEL, 0, 1),
    )


def payload_of(world: World, message: bytes) -> bytes:
    _, read = read_from_client(
        message, kinds=[MessageKind.UPLOAD], session=world.session, label=None, payload_limit_bytes=10**8
    )
    return bytes(read.payload)


@pytest.mark.parametrize("first", [True, False])
def test_a_signed_payload_that_cannot_be_one_is_refused_and_a_right_one_may_follow(
    four: World, first: bool
) -> None:
    v, s = make_vectors(FOUR, 9000), make_settings(9000, cohort_cap=4)
    uploads = four.upload(v, s)
    payload = payload_of(four, uploads["ben"])
    if not first:
        four.aggregator.receive(uploads["ana"])
    wrong = [
        b"",
        payload[: SETTINGS_BYTES - 1],
        payload[:-1],
        payload + b"\0",
        bytes(len(payload)),
        payload[:8] + b"\xff" + payload[9:],
        payload[:SETTINGS_BYTES] + b"\xff" * (len(payload) - SETTINGS_BYTES - SEED_BYTES) + bytes(SEED_BYTES),
        # The last block alone is out of range: nothing of the others may be left in the sum.
        payload[: -SEED_BYTES - 300] + b"\xff" * 300 + payload[-SEED_BYTES:],
    ]
    for content in wrong:
        error = refusal(four.aggregator.receive, signed_upload(four, content))
        assert error.code is ErrorCode.MESSAGE_MALFORMED
    np.testing.assert_array_equal(four.finish(uploads).total.values, exact_sum(v, s))


def test_vectors_longer_than_allowed_are_refused_unread() -> None:
    world = make_world(FOUR, slots=2)
    world.aggregator = world.make_aggregator(longest_vector=1000)
    world.set_up()
    long, s = make_vectors(FOUR, 10_000), make_settings(10_000, cohort_cap=4)
    error = refusal(world.aggregator.receive, one(world, "ben", vectors=long, settings=s, round_number=0))
    assert error.code is ErrorCode.MESSAGE_MALFORMED
    assert "larger than any message" in error.message
    # Few bits are no way around it.
    narrow, s = make_vectors(FOUR, 1500), make_settings(1500, cohort_cap=4, value_bits=8)
    error = refusal(world.aggregator.receive, one(world, "ben", vectors=narrow, settings=s))
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "more values than this aggregator allows" in error.message
    refusal(world.aggregator.begin_sum, **PLACE, settings=s)


def test_uploads_without_room_for_everybody_are_refused(four: World) -> None:
    payload = payload_of(four, one(four, "ben"))
    small = make_settings(10, cohort_cap=3).to_bytes() + payload[SETTINGS_BYTES:]
    error = refusal(four.aggregator.receive, signed_upload(four, small))
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "ben uploads with room for fewer clients than the roster holds" in error.message


# Sums that come to nothing, and set-ups


@pytest.mark.parametrize("stage", ["stated", "upload", "confirm", "unmask"])
def test_an_abandoned_sum_makes_way_for_another_one(four: World, stage: str) -> None:
    uploads = four.upload(VECTORS, SETTINGS)
    if stage == "stated":
        four.aggregator.begin_sum(**PLACE, settings=SETTINGS)
    else:
        four.aggregator.receive(uploads["ana"])
    if stage in ("confirm", "unmask"):
        survivors = four.handle("upload", uploads)
        signed = four.confirm(survivors)
    if stage == "unmask":
        four.handle("confirm", signed)
    four.aggregator.abandon_sum()
    assert four.aggregator.stage is ProtocolStage.UPLOAD
    later = four.upload(VECTORS, SETTINGS, round_number=2)
    if stage in ("confirm", "unmask"):
        # The survivors were told of each other: this sum is never tried again.
        assert refusal(four.aggregator.receive, uploads["ben"]).code is ErrorCode.MESSAGE_REPLAYED
        finish(four, later)
    else:
        finish(four, later)
        finish(four, uploads)


def test_giving_up_what_was_not_begun_changes_nothing(four: World) -> None:
    four.aggregator.abandon_sum()
    finish(four, four.upload(VECTORS, SETTINGS))
    world = make_world(FOUR)
    world.aggregator.abandon_sum()
    world.set_up()


def test_a_set_up_follows_between_sums_and_not_within_one(four: World) -> None:
    finish(four, four.upload(VECTORS, SETTINGS))
    four.set_up(epoch=1)
    uploads = four.upload(VECTORS, SETTINGS, round_number=2)
    four.aggregator.receive(uploads["ana"])
    advertisements = four.advertise(epoch=2)
    error = refusal(four.aggregator.handle, "advertise", advertisements)
    assert error.code is ErrorCode.STAGE_OUT_OF_ORDER
    finish(four, uploads)


def test_slots_are_free_again_after_a_set_up_and_places_are_not(four: World) -> None:
    done = four.upload(VECTORS, SETTINGS)
    finish(four, done)
    four.set_up(epoch=1)
    error = refusal(
        four.aggregator.receive,
        signed_upload(four, payload_of(four, done["ben"]), label=Label("train", 1, MODEL, 1, 0)),
    )
    assert error.code is ErrorCode.MESSAGE_REPLAYED
    finish(four, four.upload(VECTORS, SETTINGS, round_number=2, slot=1))


def test_uploads_under_an_earlier_set_up_are_refused_by_name(four: World) -> None:
    early = one(four, "ben")
    four.set_up(epoch=1)
    error = refusal(four.aggregator.receive, early)
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert error.message == "ben uploads under set-up 0, and set-up 1 is in force"


@pytest.mark.parametrize("epoch", [-1, 0, 3])
def test_set_ups_are_numbered_upwards(four: World, epoch: int) -> None:
    four.aggregator.begin_setup(3)
    error = refusal(four.aggregator.begin_setup, epoch)
    assert error.code is ErrorCode.STAGE_OUT_OF_ORDER
    assert error.message == f"set-up {epoch} is not later than set-up 3"


def test_a_set_up_may_be_begun_at_any_time_and_ends_what_is_under_way(four: World) -> None:
    four.handle("upload", four.upload(VECTORS, SETTINGS))
    four.aggregator.begin_setup(2)
    assert four.aggregator.stage is ProtocolStage.ADVERTISE
    four.set_up(epoch=2)
    finish(four, four.upload(VECTORS, SETTINGS, round_number=2))


def test_the_answer_is_one_object_where_it_is_the_same_for_all(four: World) -> None:
    answers = four.sum(VECTORS, SETTINGS).answers
    for stage in ("upload", "confirm", "unmask"):
        assert len({id(message) for message in answers[stage].values()}) == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"session_id": b"short"}, UsageError),
        ({"policy_hash": b"short"}, UsageError),
        ({"slots": 0}, UsageError),
        ({"quorum": Quorum(minimum=5, colluding=0)}, SetupError),
    ],
)
def test_terms_that_cannot_be_are_refused(change, error: type) -> None:
    refusal(make_world(FOUR).make_aggregator, error=error, **change)
