"""What a malicious aggregator may try in a set-up, the first half of `test_malicious_aggregator`'s table.

After each refusal the honest messages still pass and the session sums, or nobody gets in where somebody was
told other terms than the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError, SetupError
from fedstyle_secure.secure_aggregation.directory import Advertised
from fedstyle_secure.secure_aggregation.keys import Identity, Roster
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.setup_messages import (
    read_advertisement,
    read_shares,
    write_advertisement,
    write_advertisements,
    write_share_delivery,
)
from fedstyle_secure.secure_aggregation.setup_relay import SetupRelay
from tests.secure_attacks import refusal, refused, signature, signatures_of, take_shares, write_signatures
from tests.secure_sums import Messages, World, exact_sum, make_settings, make_vectors

NAMES = ("ana", "ben", "cem", "dia", "eli")
QUORUM = Quorum(minimum=3, colluding=1)  # four of five must be there
LENGTH = 20
SETTINGS = make_settings(LENGTH, cohort_cap=5)


def new_world(**terms: object) -> World:
    return World.of(NAMES, **({"quorum": QUORUM, "slots": 2} | terms))


def works(world: World) -> None:
    """A session whose set-up is done can sum."""
    vectors = make_vectors(NAMES, LENGTH)
    run = world.sum(vectors, SETTINGS)
    np.testing.assert_array_equal(run.total.values, exact_sum(vectors, SETTINGS))


def finish_from_keys(world: World, ads: Messages) -> None:
    """The honest messages still pass, from the advertisements on."""
    finish_from_boxes(world, world.share(world.handle("advertise", ads)))


def finish_from_boxes(world: World, shares: Messages) -> None:
    world.accept(world.handle("agree", world.agree(world.handle("share", shares))))
    works(world)


def finish_from_delivery(world: World) -> None:
    world.accept(world.handle("agree", world.agree(world.aggregator.answer("share"))))
    works(world)


def nobody_is_in(world: World) -> None:
    """Nobody uploads before its set-up is done."""
    for name in world.clients:
        code = refused(lambda name=name: world.upload({name: np.zeros(LENGTH)}, SETTINGS))
        assert code is ErrorCode.STAGE_OUT_OF_ORDER


# advertise -> share: public keys


@dataclass(frozen=True)
class Swap:
    """Something that is put into the place of ben's advertisement, and the code that refuses it."""

    make: Callable[[World, Messages], bytes]
    code: ErrorCode


def _changed(old: Callable[[Advertised], bytes], new: Callable[[Advertised], bytes]) -> Swap:
    def make(world: World, ads: Messages) -> bytes:
        _, ben = read_advertisement(ads["ben"], epoch=0, session=world.session)
        assert old(ben) in ads["ben"]
        return ads["ben"].replace(old(ben), new(ben))

    return Swap(make, ErrorCode.SIGNATURE_INVALID)


def _signed_by(identity: Callable[[World], Identity], code: ErrorCode) -> Swap:
    """ben's keys, with the aggregator's signature or a colluder's under them."""

    def make(world: World, ads: Messages) -> bytes:
        signer = identity(world)
        _, ben = read_advertisement(ads["ben"], epoch=0, session=world.session)
        posing = replace(ben, neighbours=frozenset(NAMES) - {signer.client_id})
        return write_advertisement(posing, epoch=0, session=world.session, identity=signer)

    return Swap(make, code)


KEY_SWAPS = {
    "session key": _changed(lambda ben: ben.session_key, lambda _: bytes(range(32))),
    "mask key": _changed(lambda ben: ben.mask_key(1), lambda _: bytes(range(32))),
    "mask keys change places": _changed(
        lambda ben: ben.mask_keys[:64], lambda ben: ben.mask_key(1) + ben.mask_key(0)
    ),
    "of another client": Swap(lambda _, ads: ads["cem"], ErrorCode.MESSAGE_UNEXPECTED),
    "signed anew": _signed_by(lambda _: Identity.generate("ben"), ErrorCode.SIGNATURE_INVALID),
    "signed by a colluder": _signed_by(lambda world: world.identities["eli"], ErrorCode.MESSAGE_UNEXPECTED),
    "of another set-up": Swap(
        lambda world, _: world.make_client("ben").advertise(epoch=1), ErrorCode.MESSAGE_UNEXPECTED
    ),
    "of another session": Swap(
        lambda world, _: world.make_client("ben", session_id=b"t" * 16).advertise(),
        ErrorCode.MESSAGE_UNEXPECTED,
    ),
    "under another policy": Swap(
        lambda world, _: world.make_client("ben", policy_hash=b"q" * 32).advertise(),
        ErrorCode.MESSAGE_UNEXPECTED,
    ),
    "for fewer slots": Swap(
        lambda world, _: world.make_client("ben", slots=1).advertise(), ErrorCode.MESSAGE_MALFORMED
    ),
    "of a stranger": Swap(
        lambda *_: World.of(["zoe", "ben"], slots=2).clients["zoe"].advertise(), ErrorCode.MESSAGE_UNEXPECTED
    ),
    "nothing": Swap(lambda *_: b"", ErrorCode.MESSAGE_MALFORMED),
}


@pytest.mark.parametrize("swap", KEY_SWAPS.values(), ids=KEY_SWAPS)
def test_swapped_keys_are_refused(swap: Swap) -> None:
    world = new_world()
    ads = world.advertise()
    lie = write_advertisements(ads | {"ben": swap.make(world, ads)}, epoch=0, session=world.session)
    for client in world.clients.values():
        assert refused(client.share, lie) is swap.code
    finish_from_keys(world, ads)


def test_the_refusal_of_swapped_keys_names_whose_they_are() -> None:
    world = new_world()
    ads = world.advertise()
    swapped = ads | {"ben": KEY_SWAPS["session key"].make(world, ads)}
    lie = write_advertisements(swapped, epoch=0, session=world.session)
    assert "in the name of ben" in refusal(world.clients["ana"].share, lie).message


def test_a_client_whose_own_keys_are_left_out_or_replaced_notices() -> None:
    world = new_world()
    ads = world.advertise()
    rest = {name: ad for name, ad in ads.items() if name != "ben"}
    again = world.make_client("ben")  # an earlier life of ben's, say
    for shown in (rest, ads | {"ben": again.advertise()}):
        lie = write_advertisements(shown, epoch=0, session=world.session)
        assert refused(world.clients["ben"].share, lie) is ErrorCode.MESSAGE_UNEXPECTED
    finish_from_keys(world, ads)


@pytest.mark.parametrize("key", ["session key", "mask key"])
def test_a_colluders_key_that_makes_secrets_public_is_refused(key: str) -> None:
    """Low order: whatever is agreed on with it is zero, so its mask or its boxes would be everybody's."""
    world = new_world()
    ads = world.advertise()
    _, eli = read_advertisement(ads["eli"], epoch=0, session=world.session)
    changes = (
        {"session_key": bytes(32)} if key == "session key" else {"mask_keys": eli.mask_keys[:32] + bytes(32)}
    )
    weak = write_advertisement(
        replace(eli, **changes), epoch=0, session=world.session, identity=world.identities["eli"]
    )
    lie = write_advertisements(ads | {"eli": weak}, epoch=0, session=world.session)
    for client in world.clients.values():
        assert refused(client.share, lie) is ErrorCode.MESSAGE_MALFORMED
    # An honest aggregator refuses it from eli, so that nobody else is held up.
    assert refused(world.aggregator.receive, weak) is ErrorCode.MESSAGE_MALFORMED
    finish_from_keys(world, ads)


@pytest.mark.parametrize("shown", [(), ("ana",), ("ana", "ben"), ("ana", "ben", "cem")])
def test_a_set_up_of_too_few_is_refused(shown: Sequence[str]) -> None:
    """A cohort of one above all: its sum would be that client's vector."""
    world = new_world()
    ads = world.advertise()
    lie = write_advertisements({name: ads[name] for name in shown}, epoch=0, session=world.session)
    for client in world.clients.values():
        assert refused(client.share, lie) is ErrorCode.COHORT_INCOMPLETE
    shares = world.share(world.handle("advertise", ads))
    relay = world.aggregator._setup
    for message in shares.values():
        relay.receive_shares(message)
    boxes = {name: relay._boxes[name] for name in shown}
    for name, client in world.clients.items():
        lie = write_share_delivery(boxes, directory=relay.directory, recipient=name)
        assert refused(client.agree, lie) is ErrorCode.COHORT_INCOMPLETE
    signed = signatures_of(world.agree(world.handle("share", shares)))
    lie = write_signatures(relay.directory.agreement(relay.sharers), {name: signed[name] for name in shown})
    for client in world.clients.values():
        assert refused(client.accept, lie) is ErrorCode.COHORT_INCOMPLETE
    nobody_is_in(world)


@pytest.mark.parametrize("client", NAMES)
def test_a_client_cannot_be_talked_into_a_session_of_its_own(client: str) -> None:
    with pytest.raises(SetupError):
        World.of([client])
    with pytest.raises(SetupError, match="sums need"):
        World.of([client, "zoe"], quorum=QUORUM)


def test_two_clients_who_are_shown_different_keys_notice() -> None:
    """A colluding client has signed two sets of keys, and has shared under both: its boxes are right."""
    world = new_world()
    first = world.advertise()
    other_eli = world.make_client("eli")
    second = first | {"eli": other_eli.advertise()}
    groups = {"ana": first, "ben": first, "cem": second, "dia": second}
    relay = world.aggregator._setup
    for ad in first.values():
        relay.receive_advertisement(ad)
    relay.answer_advertise()
    answers = {
        name: write_advertisements(shown, epoch=0, session=world.session) for name, shown in groups.items()
    }
    shares = {name: world.clients[name].share(answer) for name, answer in answers.items()}
    of_eli = {"ana": world.clients["eli"].share(answers["ana"]), "cem": other_eli.share(answers["cem"])}
    boxes = {name: read_shares(message, directory=relay.directory)[1] for name, message in shares.items()}
    for name, shown in groups.items():
        _, from_eli = read_shares(of_eli["ana" if shown is first else "cem"], directory=relay.directory)
        lie = write_share_delivery(boxes | {"eli": from_eli}, directory=relay.directory, recipient=name)
        error = refusal(world.clients[name].agree, lie)
        assert error.code is ErrorCode.SIGNATURE_INVALID
        assert ("cem" if shown is first else "ana") in error.message
        # Those who were shown the same are too few.
        alike = {other: boxes[other] for other, seen in groups.items() if seen is shown} | {"eli": from_eli}
        lie = write_share_delivery(alike, directory=relay.directory, recipient=name)
        assert refused(world.clients[name].agree, lie) is ErrorCode.COHORT_INCOMPLETE
    nobody_is_in(world)


DISAGREEMENTS = {
    "fewer are enough": {"quorum": Quorum(minimum=3, colluding=0)},
    "more colluding": {"quorum": Quorum(minimum=3, colluding=2)},
    "smaller minimum": {"quorum": Quorum(minimum=2, colluding=1)},
}


@pytest.mark.parametrize("changes", DISAGREEMENTS.values(), ids=DISAGREEMENTS)
def test_clients_who_were_told_different_terms_never_share_a_set_up(changes) -> None:
    """The quorum is in no message; it is in everything that keys are bound to."""
    world = new_world()
    world.clients["ben"] = world.make_client("ben", **changes)
    relay = take_shares(world)
    for name, client in world.clients.items():
        lie = write_share_delivery(relay._boxes, directory=relay.directory, recipient=name)
        # Who expects another number of key makers expects boxes of other sizes.
        assert refused(client.agree, lie) in (ErrorCode.SIGNATURE_INVALID, ErrorCode.MESSAGE_MALFORMED)
    nobody_is_in(world)


def test_a_client_with_another_roster_never_gets_in() -> None:
    """The aggregator has exchanged eli's identity on ana's roster for its own."""
    world = new_world()
    fake = Identity.generate("eli")
    others = [world.identities[name].public for name in NAMES[:4]]
    ana = world.clients["ana"] = world.make_client("ana", roster=Roster([*others, fake.public]))
    ads = world.advertise()
    true = write_advertisements(ads, epoch=0, session=world.session)
    assert refused(ana.share, true) is ErrorCode.SIGNATURE_INVALID
    _, eli = read_advertisement(ads["eli"], epoch=0, session=world.session)
    posing = ads | {"eli": write_advertisement(eli, epoch=0, session=world.session, identity=fake)}
    lie = write_advertisements(posing, epoch=0, session=world.session)
    assert refused(world.clients["ben"].share, lie) is ErrorCode.SIGNATURE_INVALID
    relay = world.aggregator._setup
    for ad in ads.values():
        relay.receive_advertisement(ad)
    relay.answer_advertise()
    for name, client in world.clients.items():
        relay.receive_shares(client.share(lie if name == "ana" else true))
    for name, client in world.clients.items():
        lie = write_share_delivery(relay._boxes, directory=relay.directory, recipient=name)
        assert refused(client.agree, lie) is ErrorCode.SIGNATURE_INVALID
    nobody_is_in(world)


# share -> agree: sealed boxes


def deliver(relay: SetupRelay, recipient: str, **changes: dict[str, bytes] | None) -> bytes:
    """A delivery in which some clients' boxes were changed, or (None) left out."""
    boxes = {name: box for name, box in (relay._boxes | changes).items() if box is not None}
    return write_share_delivery(boxes, directory=relay.directory, recipient=recipient)


def test_a_changed_swapped_or_old_box_is_refused() -> None:
    world = new_world()
    old = dict(take_shares(world)._boxes)
    relay = take_shares(world, epoch=1)
    elsewhere = take_shares(World(world.identities, quorum=QUORUM, slots=2))
    box = relay._boxes["cem"]["ana"]
    lies = {
        "a bit": box[:40] + bytes([box[40] ^ 1]) + box[41:],
        "nonce": bytes(12) + box[12:],
        "tag": box[:-1] + bytes([box[-1] ^ 128]),
        "zeros": bytes(len(box)),
        "for another client": relay._boxes["cem"]["ben"],
        "of another client": relay._boxes["dia"]["ana"],
        "the recipient's own": relay._boxes["ana"]["cem"][-len(box) :],
        "of an earlier set-up": old["cem"]["ana"],
        "of another session": elsewhere._boxes["cem"]["ana"],
    }
    for lie in lies.values():
        assert len(lie) == len(box)
        message = deliver(relay, "ana", cem=relay._boxes["cem"] | {"ana": lie})
        assert refused(world.clients["ana"].agree, message) is ErrorCode.SIGNATURE_INVALID
    finish_from_delivery(world)


def test_a_withheld_box_is_refused() -> None:
    world = new_world()
    relay = take_shares(world)
    without = {name: box for name, box in relay._boxes["ben"].items() if name != "ana"}
    lie = deliver(relay, "ana", ben=without)
    assert refused(world.clients["ana"].agree, lie) is ErrorCode.MESSAGE_MALFORMED
    finish_from_delivery(world)


def test_a_delivery_for_another_client_or_without_ones_own_is_refused() -> None:
    world = new_world()
    relay = take_shares(world)
    ana = world.clients["ana"]
    assert refused(ana.agree, deliver(relay, "ben")) is ErrorCode.MESSAGE_UNEXPECTED
    assert refused(ana.agree, deliver(relay, "ana", ana=None)) is ErrorCode.MESSAGE_UNEXPECTED
    finish_from_delivery(world)


def test_a_sharer_who_has_not_advertised_is_refused() -> None:
    world = new_world()
    shares = world.share(world.handle("advertise", world.advertise(NAMES[:4])))
    relay = world.aggregator._setup
    for message in shares.values():
        relay.receive_shares(message)
    lie = deliver(relay, "ana", eli=relay._boxes["dia"])
    assert refused(world.clients["ana"].agree, lie) is ErrorCode.MESSAGE_MALFORMED


# agree -> accept: who has shared


@pytest.mark.parametrize("fooled", [1, 2, 3, 4])
def test_clients_who_are_shown_different_sharers_never_upload(fooled: int) -> None:
    """Some are shown that eli has not shared. Of the two cohorts at most one gets enough signatures.

    eli helps, and signs both. `test_masked_vectors` shows what this stage is for.
    """
    world = new_world()
    relay = take_shares(world)
    groups = {name: place < fooled for place, name in enumerate(NAMES[:4])}
    signed = {
        name: world.clients[name].agree(deliver(relay, name, **({"eli": None} if without else {})))
        for name, without in groups.items()
    }
    marks = signatures_of(signed)
    for without in (True, False):
        sharers = NAMES[:4] if without else NAMES
        statement = relay.directory.agreement(sharers)
        members = [name for name, shown in groups.items() if shown is without]
        honest = {name: marks[name] for name in members}
        helped = honest if without else honest | {"eli": signature(statement, world.identities["eli"])}
        all_there_are = marks if without else marks | helped
        for name in members:
            accept = world.clients[name].accept
            if len(all_there_are) > len(helped):
                mixed = write_signatures(statement, all_there_are)
                assert refused(accept, mixed) is ErrorCode.SIGNATURE_INVALID
            if len(helped) < world.threshold:
                assert refused(accept, write_signatures(statement, helped)) is ErrorCode.COHORT_INCOMPLETE
                code = refused(lambda name=name: world.upload({name: np.zeros(LENGTH)}, SETTINGS))
                assert code is ErrorCode.STAGE_OUT_OF_ORDER
    enough = [without for without in (True, False) if _supporters(groups, without) >= world.threshold]
    assert len(enough) <= 1


def _supporters(groups: dict[str, bool], without: bool) -> int:
    return sum(shown is without for shown in groups.values()) + (not without)


def test_a_client_who_is_shown_a_second_cohort_keeps_to_the_first() -> None:
    world = new_world()
    relay = take_shares(world)
    ana = world.clients["ana"]
    first = ana.agree(deliver(relay, "ana"))
    second = deliver(relay, "ana", eli=None)
    assert refused(ana.agree, second) is ErrorCode.SURVIVORS_INCONSISTENT
    assert ana.agree(deliver(relay, "ana")) == first
    finish_from_delivery(world)


def test_agreements_that_do_not_count_are_refused() -> None:
    world = new_world(quorum=Quorum(minimum=2, colluding=0))
    shares = world.share(world.handle("advertise", world.advertise()))
    relay = world.aggregator._setup
    for name in NAMES[:4]:
        relay.receive_shares(shares[name])
    signed = signatures_of(world.agree(world.handle("share", {})))
    statement = relay.directory.agreement(relay.sharers)
    other = replace(statement, content=relay.directory.cohort_hash(NAMES))
    of_eli = signature(statement, world.identities["eli"])
    too_few = [dict(chosen) for size in range(3) for chosen in combinations(signed.items(), size)]
    lies = [(lie, ErrorCode.COHORT_INCOMPLETE) for lie in too_few]
    lies += [
        (signed | {"ben": signed["ana"]}, ErrorCode.SIGNATURE_INVALID),
        (signed | {"ben": bytes(64)}, ErrorCode.SIGNATURE_INVALID),
        (signed | {"ben": signature(other, world.identities["ben"])}, ErrorCode.SIGNATURE_INVALID),
        ({"ana": signed["ana"], "ben": signed["ben"], "eli": of_eli}, ErrorCode.SURVIVORS_INCONSISTENT),
    ]
    for name in relay.sharers:
        for lie, code in lies:
            assert refused(world.clients[name].accept, write_signatures(statement, lie)) is code
        world.clients[name].accept(write_signatures(statement, signed))


# What was said in another set-up


def test_what_was_said_in_another_set_up_is_refused() -> None:
    world = new_world()
    earlier = take_shares(world, epoch=0)
    answer = write_advertisements(earlier._advertisements, epoch=0, session=world.session)
    agreed = signatures_of(world.agree({name: deliver(earlier, name) for name in NAMES}))
    later = take_shares(world, epoch=1)
    now = {name: deliver(later, name) for name in NAMES}
    for name, client in world.clients.items():
        assert refused(client.agree, deliver(earlier, name)) is ErrorCode.MESSAGE_UNEXPECTED
        client.agree(now[name])
        statement = earlier.directory.agreement(NAMES)
        assert refused(client.accept, write_signatures(statement, agreed)) is ErrorCode.MESSAGE_UNEXPECTED
        statement = later.directory.agreement(NAMES)
        assert refused(client.accept, write_signatures(statement, agreed)) is ErrorCode.SIGNATURE_INVALID
        client.advertise(epoch=2)
        assert refused(client.share, answer) is ErrorCode.MESSAGE_UNEXPECTED


def test_a_set_up_is_neither_repeated_nor_answered_twice() -> None:
    """Two answers to one set-up would be two sets of shares of the same seeds."""
    world = new_world()
    relay = take_shares(world)
    other_keys = {name: world.make_client(name).advertise() for name in NAMES}
    answer = write_advertisements(other_keys, epoch=0, session=world.session)
    for client in world.clients.values():
        assert refused(client.share, answer) is ErrorCode.STAGE_OUT_OF_ORDER
    agreed = world.handle("agree", world.agree(world.aggregator.answer("share")))
    for name, client in world.clients.items():
        client.accept(agreed[name])
        assert refused(client.accept, agreed[name]) is ErrorCode.STAGE_OUT_OF_ORDER
        assert refused(client.agree, deliver(relay, name)) is ErrorCode.STAGE_OUT_OF_ORDER
        assert refused(lambda client=client: client.advertise(epoch=0)) is ErrorCode.STAGE_OUT_OF_ORDER
    works(world)


def test_a_set_up_that_is_refused_leaves_the_one_before_in_force() -> None:
    world = new_world().set_up()
    relay = take_shares(world, epoch=1)
    for name, client in world.clients.items():
        with pytest.raises(ProtocolError):
            client.agree(deliver(relay, name, ben={other: bytes(9) for other in NAMES}))
    vectors = make_vectors(NAMES, LENGTH)
    uploads = world.upload(vectors, SETTINGS)
    assert len(uploads) == len(NAMES)
