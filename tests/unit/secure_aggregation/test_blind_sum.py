"""One sum on the aggregator's side: what it takes, what it refuses by name, what it answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation import client_setup
from fedstyle_secure.secure_aggregation.blind_sum import BlindSum
from fedstyle_secure.secure_aggregation.frames import UploadFrame, write_sum_head
from fedstyle_secure.secure_aggregation.neighbours import SharingPlan
from fedstyle_secure.secure_aggregation.secret_sharing import SECRET_BYTES
from fedstyle_secure.secure_aggregation.sum_messages import write_unmasking
from fedstyle_secure.secure_aggregation.wire import (
    Label,
    MessageKind,
    read_from_aggregator,
    read_from_client,
    write_as_aggregator,
    write_as_client,
)
from tests.secure_sums import MODEL, World, exact_sum, make_settings, make_vectors, make_world

NAMES = ("ana", "ben", "cem", "dia", "eli")
LABEL = Label("train", 1, MODEL, epoch=0, slot=1)
SETTINGS = make_settings(100, cohort_cap=5)
VECTORS = make_vectors(NAMES, 100)


def refusal(call, *arguments, **keywords) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        call(*arguments, **keywords)
    return caught.value


class Blind:
    """A sum of a world whose set-up is done, with its uploads."""

    def __init__(self, world: World) -> None:
        self.world = world
        relay = world.aggregator._setup
        self.sum = BlindSum(
            session=world.session,
            directory=relay.directory,
            sharers=relay.sharers,
            label=LABEL,
            settings=SETTINGS,
        )
        members = {name: VECTORS[name] for name in relay.sharers}
        self.uploads = world.upload(members, SETTINGS)

    def add(self, data: bytes) -> None:
        _, upload = read_from_client(
            data,
            kinds=[MessageKind.UPLOAD],
            session=self.world.session,
            label=None,
            payload_limit_bytes=10**6,
        )
        self.sum.add(upload, UploadFrame(upload.payload, sender=upload.sender), data)

    def add_all(self, names=NAMES) -> dict[str, bytes]:
        for name in names:
            self.add(self.uploads[name])
        return self.sum.answer_upload()

    def confirm_all(self, survivors: dict[str, bytes], names=NAMES) -> dict[str, bytes]:
        for name, message in self.world.confirm({n: survivors[n] for n in names if n in survivors}).items():
            assert self.sum.receive_confirmation(message) == name
        return self.sum.answer_confirm()

    def unmasking(self, names=NAMES, *, uploaded=NAMES) -> dict[str, bytes]:
        """What the named clients send for a sum that is confirmed by all who have uploaded."""
        confirmed = self.confirm_all(self.add_all(uploaded))
        return self.world.unmask({name: confirmed[name] for name in names})

    def receive(self, messages: dict[str, bytes]) -> None:
        for name, message in messages.items():
            assert self.sum.receive_unmasking(message) == name

    def spoilt(self, name: str, message: bytes, *, owner: str) -> bytes:
        """A client's unmasking with another share of one owner, rightly signed."""
        survivors = self.sum._agreed()
        _, read = read_from_client(
            message,
            kinds=[MessageKind.UNMASKING],
            session=self.world.session,
            label=LABEL,
            payload_limit_bytes=10**6,
        )
        shares = bytearray(read.payload)
        # X25519 ignores some bits of the first and the last byte of a private key.
        shares[self.sum._held[name].index(owner) * SECRET_BYTES + 5] ^= 1
        return write_unmasking(bytes(shares), survivors=survivors, identity=self.world.identities[name])


@pytest.fixture
def blind() -> Blind:
    """Five clients of whom three are enough, with their uploads."""
    return Blind(make_world(NAMES, slots=2).set_up())


def opens_to(blind: Blind, names) -> bool:
    opened = blind.world.open(blind.sum.answer_unmask())
    assert all(total.clients == len(names) for total in opened.values())
    exact = exact_sum(VECTORS, SETTINGS, names)
    return bool(opened) and all(np.array_equal(total.values, exact) for total in opened.values())


# Uploads


def test_the_survivors_are_those_who_have_uploaded_in_roster_order_and_get_one_answer(blind: Blind) -> None:
    answers = blind.add_all(("dia", "ana", "eli"))
    assert list(answers) == ["ana", "dia", "eli"]
    assert len({id(answer) for answer in answers.values()}) == 1


def test_an_upload_counts_once_however_often_it_arrives(blind: Blind) -> None:
    for name in ("ana", "ana", "ben", "cem", "ana", "dia", "ben"):
        blind.add(blind.uploads[name])
    blind.receive(blind.world.unmask(blind.confirm_all(blind.sum.answer_upload())))
    assert opens_to(blind, ("ana", "ben", "cem", "dia"))


def resigned(blind: Blind, payload_of: str, name: str, *, label: Label = LABEL) -> bytes:
    """Another client's payload under this client's signature."""
    _, read = read_from_client(
        blind.uploads[payload_of],
        kinds=[MessageKind.UPLOAD],
        session=blind.world.session,
        label=LABEL,
        payload_limit_bytes=10**6,
    )
    return write_as_client(
        MessageKind.UPLOAD,
        [read.payload],
        session=blind.world.session,
        identity=blind.world.identities[name],
        label=label,
    )


def test_a_second_upload_of_a_client_is_refused_and_the_first_one_stands(blind: Blind) -> None:
    blind.add(blind.uploads["ana"])
    error = refusal(blind.add, resigned(blind, "ben", "ana"))
    assert error.code is ErrorCode.MESSAGE_REPLAYED
    assert error.message == "ana uploads twice, differently"
    blind.receive(blind.unmasking())
    assert opens_to(blind, NAMES)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stage": "centre"}, "ben uploads for centre, round 1 while the sum is that of train, round 1"),
        ({"round_number": 2}, "ben uploads for train, round 2 while the sum is that of train, round 1"),
        ({"model_hash": b"n" * 32}, "ben uploads for another model"),
        ({"epoch": 1}, "ben uploads for another model"),
        ({"slot": 0}, "ben uploads for another model"),
    ],
)
def test_an_upload_for_another_sum_is_refused_by_name(blind: Blind, change, reason: str) -> None:
    blind.add(blind.uploads["ana"])
    error = refusal(blind.add, resigned(blind, "ben", "ben", label=replace(LABEL, **change)))
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert reason in error.message
    blind.receive(blind.unmasking())
    assert opens_to(blind, NAMES)


def test_an_upload_under_other_settings_is_refused_by_name() -> None:
    world = make_world(NAMES, slots=2).set_up()
    blind = Blind(world)
    blind.add(blind.uploads["ana"])
    twin = make_world(NAMES)  # the same label under other settings, signed by ben
    other = twin.set_up().upload({"ben": VECTORS["ben"]}, replace(SETTINGS, value_limit=2.0))["ben"]
    _, read = read_from_client(
        other,
        kinds=[MessageKind.UPLOAD],
        session=twin.session,
        label=None,
        payload_limit_bytes=10**6,
    )
    message = write_as_client(
        MessageKind.UPLOAD,
        [read.payload],
        session=world.session,
        identity=world.identities["ben"],
        label=LABEL,
    )
    error = refusal(blind.add, message)
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert error.message == "ben uploads under other settings than those of the sum"
    blind.add(blind.uploads["ben"])


def test_who_has_not_finished_the_set_up_cannot_upload() -> None:
    blind = Blind(make_world(NAMES, slots=2).set_up(silent={"share": ["eli"]}))
    error = refusal(blind.add, resigned(blind, "ana", "eli"))
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert error.message == "eli uploads and has not finished the set-up"


def test_too_few_uploads_are_refused_and_more_may_come(blind: Blind) -> None:
    error = refusal(blind.add_all, ("ben", "eli"))
    assert error.code is ErrorCode.COHORT_INCOMPLETE
    assert error.message == (
        "2 clients took part in the sum of train, round 1, and 3 are needed; ana, cem, dia did not"
    )
    blind.add(blind.uploads["dia"])
    assert list(blind.sum.answer_upload()) == ["ben", "dia", "eli"]


# Confirmations


def test_confirmations_may_come_twice_and_from_some_only(blind: Blind) -> None:
    survivors = blind.add_all(NAMES[:4])
    messages = blind.world.confirm(survivors)
    for name in ("ben", "ben", "dia"):
        assert blind.sum.receive_confirmation(messages[name]) == name
    error = refusal(blind.sum.answer_confirm)
    assert error.code is ErrorCode.COHORT_INCOMPLETE
    assert "2 clients took part in confirming who is in the sum of train, round 1" in error.message
    blind.sum.receive_confirmation(messages["ana"])
    # All survivors are told, also those whose own signature was lost.
    assert list(blind.sum.answer_confirm()) == list(NAMES[:4])


def test_a_confirmation_of_another_list_is_refused_by_name(blind: Blind) -> None:
    survivors = blind.add_all(NAMES[:4])
    other = replace(blind.sum._agreed(), clients=NAMES)
    lie = other.statement.sign(blind.world.identities["ben"])
    error = refusal(blind.sum.receive_confirmation, lie)
    assert error.code is ErrorCode.SURVIVORS_INCONSISTENT
    assert error.message.startswith("ben has signed something else")
    blind.confirm_all(survivors)


# Shares, and the sum


@pytest.mark.parametrize(
    ("uploaded", "unmasking"),
    [
        (NAMES, NAMES),
        (NAMES, ("ana", "cem", "eli")),
        (("ana", "ben", "dia", "eli"), ("eli", "ben", "dia")),
        (("cem", "dia", "eli"), ("cem", "dia", "eli")),
    ],
)
def test_the_sum_is_that_of_the_uploads_whoever_unmasks_it(blind: Blind, uploaded, unmasking) -> None:
    blind.receive(blind.unmasking(unmasking, uploaded=uploaded))
    assert opens_to(blind, uploaded)


def test_too_few_shares_are_refused_and_more_may_come(blind: Blind) -> None:
    messages = blind.unmasking(uploaded=NAMES[:4], names=NAMES[:3])
    last = messages.pop("cem")
    blind.receive(messages)
    error = refusal(blind.sum.answer_unmask)
    assert error.code is ErrorCode.COHORT_INCOMPLETE
    assert error.message == (
        "2 clients took part in unmasking the sum of train, round 1, and 3 are needed; cem, dia, eli did not"
    )
    blind.receive({"cem": last})
    assert opens_to(blind, NAMES[:4])


def test_shares_may_come_twice_and_others_are_refused(blind: Blind) -> None:
    messages = blind.unmasking(names=NAMES[:3])
    blind.receive(messages)
    blind.receive(messages)
    lie = blind.spoilt("ben", messages["ben"], owner="ana")
    error = refusal(blind.sum.receive_unmasking, lie)
    assert error.code is ErrorCode.MESSAGE_REPLAYED
    assert error.message == "ben unmasks twice, differently"
    assert opens_to(blind, NAMES)


@pytest.mark.parametrize("liar", ["ana", "ben", "cem"])
def test_a_wrong_share_of_a_mask_key_is_noticed_and_its_owner_named(blind: Blind, liar: str) -> None:
    uploaded = ("ana", "ben", "cem", "eli")
    messages = blind.unmasking(names=("ana", "ben", "cem"), uploaded=uploaded)
    blind.receive(messages | {liar: blind.spoilt(liar, messages[liar], owner="dia")})
    error = refusal(blind.sum.answer_unmask)
    assert "the shares of the mask key of dia do not fit" in error.message


def test_a_wrong_share_of_a_self_seed_is_noticed_by_the_clients(blind: Blind) -> None:
    messages = blind.unmasking(names=("ana", "ben", "cem"))
    blind.receive(messages | {"ben": blind.spoilt("ben", messages["ben"], owner="eli")})
    sums = blind.sum.answer_unmask()
    for name in NAMES:
        error = refusal(blind.world.clients[name].open, sums[name])
        assert error.code is ErrorCode.SUM_MISMATCH


def test_no_more_shares_are_used_than_it_takes(blind: Blind) -> None:
    messages = blind.unmasking()
    blind.receive(messages | {"eli": blind.spoilt("eli", messages["eli"], owner="ana")})
    assert opens_to(blind, NAMES)


def test_the_sum_is_one_object_for_all_survivors(blind: Blind) -> None:
    blind.receive(blind.unmasking(names=NAMES[:3], uploaded=NAMES[:4]))
    answers = blind.sum.answer_unmask()
    assert list(answers) == list(NAMES[:4])
    assert len({id(answer) for answer in answers.values()}) == 1


# A sparse graph of eight clients, two out-neighbours each. Nobody chose fay.
CHOSEN = {
    "ana": ("ben", "eli"),
    "ben": ("ana", "cem"),
    "cem": ("ana", "ben"),
    "dia": ("ana", "eli"),
    "eli": ("ana", "gus"),
    "fay": ("cem", "dia"),
    "gus": ("eli", "hal"),
    "hal": ("gus", "ben"),
}


@pytest.fixture
def sparse_world(monkeypatch) -> World:
    names = list(CHOSEN)
    plan = SharingPlan(clients=8, out_degree=2, threshold=2, smallest_group=2)
    monkeypatch.setattr(SharingPlan, "of", lambda *arguments, **keywords: plan)
    monkeypatch.setattr(
        client_setup,
        "choose_neighbours",
        lambda plan, own: tuple(sorted(names.index(name) for name in CHOSEN[names[own]])),
    )
    return make_world(names, slots=2).set_up()


@pytest.mark.parametrize("dropped", [(), ("fay",), ("cem",), ("fay", "cem", "dia"), ("hal",), ("hal", "fay")])
def test_in_a_sparse_graph_masks_of_dropped_neighbours_come_off_too(sparse_world: World, dropped) -> None:
    s, v = make_settings(50, cohort_cap=8), make_vectors(CHOSEN, 50)
    run = sparse_world.sum(v, s, silent={"upload": dropped})
    there = [name for name in CHOSEN if name not in dropped]
    np.testing.assert_array_equal(run.total.values, exact_sum(v, s, there))
    assert list(run.opened) == there


def test_in_a_sparse_graph_a_client_refuses_a_list_with_too_few_of_its_holders(sparse_world: World) -> None:
    """Gus has shared with eli and hal. Without both, its seeds could not come back, nor its mask off."""
    s, v = make_settings(50, cohort_cap=8), make_vectors(CHOSEN, 50)
    there = {name: vector for name, vector in v.items() if name not in ("eli", "hal")}
    survivors = sparse_world.handle("upload", sparse_world.upload(there, s))
    error = refusal(sparse_world.clients["gus"].confirm, survivors["gus"])
    assert error.code is ErrorCode.COHORT_INCOMPLETE
    assert error.message == (
        "1 clients took part in the sum of train, round 1 among the neighbours of gus, and 2 are needed; "
        "eli, hal did not"
    )
    sparse_world.clients["ana"].confirm(survivors["ana"])


def test_in_a_sparse_graph_a_sum_of_too_few_is_not_opened_even_if_it_has_enough_of_ones_holders(
    sparse_world: World,
) -> None:
    s, v = make_settings(50, cohort_cap=8), make_vectors(CHOSEN, 50)
    run = sparse_world.sum(v, s, silent={"confirm": ["gus"]})
    payload = read_from_aggregator(
        run.answers["unmask"]["gus"],
        kind=MessageKind.SUM,
        session=sparse_world.session,
        label=LABEL,
        payload_limit_bytes=10**6,
    ).payload
    few = write_sum_head(s, contributed=[name in ("eli", "gus", "hal", "ana") for name in CHOSEN])
    message = write_as_aggregator(
        MessageKind.SUM, [few, payload[len(few) :]], session=sparse_world.session, label=LABEL
    )
    error = refusal(sparse_world.clients["gus"].open, message)
    assert error.code is ErrorCode.COHORT_INCOMPLETE
    assert "4 clients took part in the sum of train, round 1, and 5 are needed" in error.message
    sparse_world.open({"gus": run.answers["unmask"]["gus"]})


def test_in_a_sparse_graph_it_is_said_whose_holders_are_missing(sparse_world: World) -> None:
    s, v = make_settings(50, cohort_cap=8), make_vectors(CHOSEN, 50)
    with pytest.raises(ProtocolError) as caught:
        sparse_world.sum(v, s, silent={"unmask": ["gus", "eli"]})
    assert caught.value.code is ErrorCode.COHORT_INCOMPLETE
    assert "1 clients took part in unmasking" in caught.value.message
