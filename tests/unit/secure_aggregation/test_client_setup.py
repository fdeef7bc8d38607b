from __future__ import annotations

import copy
import pickle
from collections.abc import Collection

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.client_setup import ClientSetup, Membership
from fedstyle_secure.secure_aggregation.encryption import BfvKey
from fedstyle_secure.secure_aggregation.key_derivation import derive_key
from fedstyle_secure.secure_aggregation.neighbours import SharingPlan
from fedstyle_secure.secure_aggregation.packing import Layout
from fedstyle_secure.secure_aggregation.secret_sharing import combine
from fedstyle_secure.secure_aggregation.setup_messages import write_share_delivery
from fedstyle_secure.secure_aggregation.setup_relay import SetupRelay
from fedstyle_secure.secure_aggregation.slot_secrets import mask_key
from fedstyle_secure.secure_aggregation.wire import Label
from tests.secure_sums import World, make_settings, make_world

NAMES = ("ana", "ben", "cem", "dia", "eli")
SLOTS = 2


def label(slot: int, *, epoch: int = 0) -> Label:
    return Label("train", slot, b"m" * 32, epoch, slot)


class SetUp:
    """A set-up whose steps are taken one by one."""

    def __init__(self, world: World, *, epoch: int = 0) -> None:
        self.session = world.session
        self.relay = SetupRelay(self.session, epoch)
        self.parts = {
            name: ClientSetup(identity=identity, session=self.session, epoch=epoch)
            for name, identity in world.identities.items()
        }

    def advertise(self, silent: Collection[str] = ()) -> dict[str, bytes]:
        for name, part in self.parts.items():
            if name not in silent:
                self.relay.receive_advertisement(part.advertise())
        return self.relay.answer_advertise()

    def share(self, answers: dict[str, bytes], silent: Collection[str] = ()) -> dict[str, bytes]:
        for name, answer in answers.items():
            if name not in silent:
                self.relay.receive_shares(self.parts[name].share(answer))
        return self.relay.answer_share()

    def agree(self, answers: dict[str, bytes]) -> dict[str, bytes]:
        for name, answer in answers.items():
            self.relay.receive_agreement(self.parts[name].agree(answer))
        return self.relay.answer_agree()

    def accept(self, answers: dict[str, bytes]) -> dict[str, Membership]:
        return {name: self.parts[name].accept(answer) for name, answer in answers.items()}

    def finish(self, *, no_advertisement=(), no_shares=()) -> dict[str, Membership]:
        return self.accept(self.agree(self.share(self.advertise(no_advertisement), no_shares)))


@pytest.fixture
def world() -> World:
    """Five clients of whom three are enough."""
    return make_world(NAMES, slots=SLOTS)


@pytest.fixture
def sparse_world(monkeypatch) -> World:
    """Six clients with two out-neighbours each; two of a client's three holders bring its seeds back."""
    plan = SharingPlan(clients=6, out_degree=2, threshold=2, smallest_group=2)
    monkeypatch.setattr(SharingPlan, "of", lambda *arguments, **keywords: plan)
    return make_world((*NAMES, "fay"), slots=SLOTS)


def secrets_of(membership: Membership) -> tuple[bytes, bytes]:
    return membership.key.to_bytes(), membership.group_secret


@pytest.mark.parametrize(
    ("no_advertisement", "no_shares", "maker"),
    [
        ((), (), "ana"),
        ((), ("ana",), "ben"),
        ((), ("ana", "ben"), "cem"),
        ((), ("dia", "eli"), "ana"),
        (("ana",), ("ben",), "cem"),
        (("ana", "ben"), (), "cem"),
    ],
)
def test_all_who_finish_share_the_secrets_of_the_first_maker_who_does(
    world, no_advertisement, no_shares, maker: str
) -> None:
    set_up = SetUp(world)
    members = set_up.finish(no_advertisement=no_advertisement, no_shares=no_shares)
    there = tuple(name for name in NAMES if name not in (*no_advertisement, *no_shares))
    assert tuple(members) == there
    (cohort,) = {member.cohort for member in members.values()}
    session, seed = world.session, set_up.parts[maker]._group_seed
    for member in members.values():
        assert member.sharers == there
        assert member.key.to_bytes() == derive_key(seed, session.binding("decryption key", cohort))
        assert member.group_secret == derive_key(seed, session.binding("group secret", cohort))
    assert isinstance(member.key, BfvKey)


def test_every_set_up_has_secrets_of_its_own(world: World) -> None:
    first, second = SetUp(world).finish()["ana"], SetUp(world, epoch=1).finish()["ana"]
    everything = {*secrets_of(first), *secrets_of(second), first.cohort, second.cohort}
    assert len(everything) == 6
    keys = {key for member in (first, second) for key in member.own.mask_keys}
    assert len(keys) == 2 * SLOTS


def bring_back(members: dict[str, Membership], owner: str, which: int) -> bytes:
    """A seed of slot 0 from the shares that as many holders as needed have of it."""
    directory = next(iter(members.values())).directory
    places = [p for p, name in enumerate(directory.holders(owner)) if name in members]
    chosen = places[-directory.plan.threshold :]
    holders = [directory.holders(owner)[place] for place in chosen]
    shares = [members[holder].held.shares[owner][0, which] for holder in holders]
    return combine(np.stack(shares).reshape(len(chosen), 1, -1), holders=chosen).tobytes()


@pytest.mark.parametrize("absent", [(), ("ana",), ("cem", "eli")])
def test_holders_hold_shares_of_all_who_finish_under_their_places_on_the_roster(world, absent) -> None:
    members = SetUp(world).finish(no_advertisement=absent)
    for owner, member in members.items():
        assert list(member.held.shares) == list(members)
        mask_seed, self_seed = member.own._seeds[0]
        assert bring_back(members, owner, 0) == mask_seed.tobytes()
        assert bring_back(members, owner, 1) == self_seed.tobytes()


def test_in_a_sparse_graph_only_the_chosen_hold_shares(sparse_world: World) -> None:
    members = SetUp(sparse_world).finish()
    directory = members["ana"].directory
    for name, member in members.items():
        assert len(directory.advertised[name].neighbours) == 2
        expected = [owner for owner in members if name in directory.holders(owner)]
        assert list(member.held.shares) == expected
        assert bring_back(members, name, 0) == member.own._seeds[0, 0].tobytes()
    assert len({secrets_of(member) for member in members.values()}) == 1


def test_neighbours_are_drawn_anew_in_each_set_up(sparse_world: World) -> None:
    drawn = {
        ClientSetup(
            identity=sparse_world.identities["ana"], session=sparse_world.session, epoch=epoch
        )._advertised.neighbours
        for epoch in range(60)
    }
    assert len(drawn) == 10  # all pairs of the five others, except with probability 10 * 0.9^60


def test_a_client_masks_with_all_who_have_finished_and_all_masks_differ(world: World) -> None:
    members = SetUp(world).finish(no_advertisement=["ben"], no_shares=["eli"])
    layout = Layout.of(make_settings(cohort_cap=5))
    masks = {
        (name, slot): member.masks(label(slot), layout)
        for name, member in members.items()
        for slot in range(SLOTS)
    }
    assert {len(some) for some in masks.values()} == {3}
    # Each slot: a mask of its own for each of three, and one for each of their three pairs.
    assert len({mask.key for some in masks.values() for mask in some}) == SLOTS * (3 + 3)
    for slot in range(SLOTS):
        signs: dict[bytes, list[bool]] = {}
        for name in members:
            for mask in masks[name, slot][1:]:
                signs.setdefault(mask.key, []).append(mask.adds)
        assert all(sorted(pair) == [False, True] for pair in signs.values())


def test_the_seeds_of_a_slot_are_gone_once_it_is_masked(world: World) -> None:
    member = SetUp(world).finish()["ana"]
    seeds = [seed.tobytes() for seed in member.own._seeds[1]]
    assert mask_key(seeds[0]) == member.directory.advertised["ana"].mask_key(1)
    member.masks(label(1), Layout.of(make_settings(cohort_cap=5)))
    left = member.own._seeds.tobytes()
    assert not any(seed in left for seed in seeds)


def test_a_step_that_is_refused_can_be_repeated_with_the_right_message(world: World) -> None:
    set_up = SetUp(world)
    answers = set_up.advertise()
    ana = set_up.parts["ana"]
    for wrong in (b"", answers["ana"][:-1], set_up.parts["ana"].advertise()):
        with pytest.raises(ProtocolError):
            ana.share(wrong)
    deliveries = set_up.share(answers)
    for wrong in (b"", deliveries["ben"], deliveries["ana"][:-1]):
        with pytest.raises(ProtocolError):
            ana.agree(wrong)
    agreements = set_up.agree(deliveries)
    for wrong in (b"", deliveries["ana"], agreements["ana"][:-1]):
        with pytest.raises(ProtocolError):
            ana.accept(wrong)
    members = set_up.accept(agreements)
    assert len({secrets_of(member) for member in members.values()}) == 1


def test_a_repeated_advertisement_and_agreement_is_the_same(world: World) -> None:
    set_up = SetUp(world)
    ana = set_up.parts["ana"]
    assert ana.advertise() == ana.advertise()
    deliveries = set_up.share(set_up.advertise())
    assert ana.agree(deliveries["ana"]) == ana.agree(deliveries["ana"])


def delivery_without(set_up: SetUp, name: str, recipient: str) -> bytes:
    """What an aggregator can tell one client: somebody who has shared has not."""
    boxes = {client: box for client, box in set_up.relay._boxes.items() if client != name}
    return write_share_delivery(boxes, directory=set_up.relay.directory, recipient=recipient)


def test_a_client_signs_one_cohort_of_a_set_up(world: World) -> None:
    set_up = SetUp(world)
    deliveries = set_up.share(set_up.advertise())
    ana = set_up.parts["ana"]
    signed = ana.agree(deliveries["ana"])
    with pytest.raises(ProtocolError) as caught:
        ana.agree(delivery_without(set_up, "eli", "ana"))
    assert caught.value.code is ErrorCode.SURVIVORS_INCONSISTENT
    assert "ana is shown two cohorts of one set-up" in caught.value.message
    assert ana.agree(deliveries["ana"]) == signed
    assert set_up.accept(set_up.agree(deliveries))["ana"].sharers == NAMES


@pytest.mark.parametrize(
    ("signers", "code"),
    [(NAMES[2:], ErrorCode.SURVIVORS_INCONSISTENT), (NAMES[1:4], ErrorCode.SIGNATURE_INVALID)],
)
def test_a_client_that_was_told_of_other_sharers_than_the_rest_does_not_finish(
    world: World, signers, code: ErrorCode
) -> None:
    """Else it could be made to mask with few or none of those who unmask its sum."""
    set_up = SetUp(world)
    deliveries = set_up.share(set_up.advertise())
    alone = set_up.parts["ana"].agree(delivery_without(set_up, "eli", "ana"))
    with pytest.raises(ProtocolError) as caught:
        set_up.relay.receive_agreement(alone)
    assert caught.value.code is ErrorCode.SURVIVORS_INCONSISTENT
    assert "ana" in caught.value.message
    agreements = set_up.agree({name: deliveries[name] for name in signers})
    with pytest.raises(ProtocolError) as caught:
        set_up.parts["ana"].accept(agreements["ana"])
    assert caught.value.code is code
    for name in signers:
        assert set_up.parts[name].accept(agreements[name]).sharers == NAMES


def test_too_few_who_agree_finish_nothing(world: World) -> None:
    set_up = SetUp(world)
    deliveries = set_up.share(set_up.advertise())
    with pytest.raises(ProtocolError) as caught:
        set_up.agree({name: deliveries[name] for name in ("ana", "cem")})
    assert caught.value.code is ErrorCode.COHORT_INCOMPLETE
    assert caught.value.message == (
        "2 clients took part in agreeing on the cohort of the set-up, and 3 are needed; ben, dia, eli did not"
    )
    agreements = set_up.agree({"eli": deliveries["eli"]})
    # Whose signature was lost is a member too.
    assert set(agreements) == set(NAMES)
    set_up.parts["ben"].agree(deliveries["ben"])
    assert set_up.parts["ben"].accept(agreements["ben"]).sharers == NAMES


def test_messages_of_another_set_up_are_refused(world: World) -> None:
    first, second = SetUp(world), SetUp(world, epoch=1)
    answers, later = first.advertise(), second.advertise()
    with pytest.raises(ProtocolError) as caught:
        first.parts["ana"].share(later["ana"])
    assert caught.value.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "the wrong set-up" in caught.value.message
    deliveries = first.share(answers)
    second.share(later)
    with pytest.raises(ProtocolError) as caught:
        second.parts["ana"].agree(deliveries["ana"])
    assert caught.value.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "the wrong set-up" in caught.value.message


def test_secrets_are_neither_shown_nor_copied(world: World) -> None:
    set_up = SetUp(world)
    part, member = set_up.parts["ben"], set_up.finish()["ben"]
    assert repr(part) == "ClientSetup('ben', set-up 0, secrets hidden)"
    assert repr(member) == "Membership('ben', set-up 0, secrets hidden)"
    for secret in (part, member):
        for copier in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                copier(secret)
