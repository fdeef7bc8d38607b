"""Set-up messages, honest and not, as clients and an aggregator read them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.client_sets import write_clients
from fedstyle_secure.secure_aggregation.directory import Advertised
from fedstyle_secure.secure_aggregation.framing import prefixed
from fedstyle_secure.secure_aggregation.key_exchange import SessionKey
from fedstyle_secure.secure_aggregation.setup_messages import (
    read_advertisement,
    read_advertisements,
    read_share_delivery,
    read_shares,
    write_advertisement,
    write_advertisements,
    write_share_delivery,
    write_shares,
)
from fedstyle_secure.secure_aggregation.slot_secrets import SlotSecrets
from fedstyle_secure.secure_aggregation.wire import MessageKind, write_as_aggregator, write_as_client
from tests.secure_sums import World, make_world

NAMES = ("ana", "ben", "cem", "dia")


def refusal(call, *arguments, **keywords) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        call(*arguments, **keywords)
    return caught.value


@pytest.fixture
def world() -> World:
    """Four clients who have not exchanged anything; three are enough."""
    return make_world(NAMES, slots=2)


def made_up(world: World, name: str, **changes) -> Advertised:
    """What a client could advertise."""
    honest = Advertised(
        SessionKey().public_key,
        b"".join(SlotSecrets(world.slots).mask_keys),
        frozenset(set(world.identities) - {name}),
    )
    return replace(honest, **changes)


def forged(world: World, name: str, *, epoch: int = 0, **changes) -> bytes:
    """An advertisement with the right signature and any content: what a malicious client can send."""
    return write_advertisement(
        made_up(world, name, **changes),
        epoch=epoch,
        session=world.session,
        identity=world.identities[name],
    )


def bundle(world: World, messages: dict[str, bytes], *, epoch: int = 0) -> bytes:
    return write_advertisements(messages, epoch=epoch, session=world.session)


def shown_to_ana(world: World, messages: dict[str, bytes]) -> ProtocolError:
    return refusal(world.clients["ana"].share, bundle(world, messages))


# Advertisements


def test_advertisements_come_back_in_roster_order(world: World) -> None:
    entries = {name: made_up(world, name) for name in ("dia", "ben", "ana")}
    messages = {
        name: write_advertisement(entry, epoch=3, session=world.session, identity=world.identities[name])
        for name, entry in entries.items()
    }
    assert read_advertisement(messages["ben"], epoch=3, session=world.session) == ("ben", entries["ben"])
    directory = read_advertisements(bundle(world, messages, epoch=3), epoch=3, session=world.session)
    assert list(directory.advertised) == ["ana", "ben", "dia"]
    assert dict(directory.advertised) == entries
    assert directory.epoch == 3


def test_a_key_that_the_aggregator_swaps_in_is_refused_by_name(world: World) -> None:
    impostor = World(make_world(NAMES).identities, session_id=world.session_id, slots=world.slots)
    other_key = write_advertisement(
        made_up(world, "ben"), epoch=0, session=world.session, identity=impostor.identities["ben"]
    )
    error = shown_to_ana(world, world.advertise() | {"ben": other_key})
    assert error.code is ErrorCode.SIGNATURE_INVALID
    assert "ben" in error.message


def test_advertisements_cannot_change_places_or_come_from_elsewhere(world: World) -> None:
    honest = world.advertise()
    elsewhere = {
        "session": World(world.identities, session_id=b"earlier session!", slots=2).advertise()["ben"],
        "policy": World(
            world.identities, session_id=world.session_id, slots=2, policy_hash=b"q" * 32
        ).advertise()["ben"],
        "set-up": forged(world, "ben", epoch=1),
    }
    for change in (
        {"ana": honest["ben"], "ben": honest["ana"]},
        {"ben": honest["cem"]},
        *({"ben": message} for message in elsewhere.values()),
    ):
        assert shown_to_ana(world, honest | change).code is ErrorCode.MESSAGE_UNEXPECTED
    for part, message in elsewhere.items():
        error = refusal(world.aggregator.handle, "advertise", {"ben": message})
        assert error.code is ErrorCode.MESSAGE_UNEXPECTED
        assert f"a message of ben has the wrong {part}" in error.message
    world.clients["ana"].share(bundle(world, honest))


def test_a_client_notices_that_its_own_keys_were_exchanged_or_left_out(world: World) -> None:
    """Only somebody with its identity could exchange them; two sessions of one identity look like it too."""
    honest = world.advertise()
    without = {name: message for name, message in honest.items() if name != "ana"}
    for messages in (honest | {"ana": forged(world, "ana")}, without):
        error = shown_to_ana(world, messages)
        assert error.code is ErrorCode.MESSAGE_UNEXPECTED
        assert "ana has advertised" in error.message


def test_a_bundle_with_too_few_is_refused_and_names_who_is_missing(world: World) -> None:
    honest = world.advertise()
    error = shown_to_ana(world, {name: honest[name] for name in ("ana", "cem")})
    assert error.code is ErrorCode.COHORT_INCOMPLETE
    assert error.message == "2 clients took part in the set-up, and 3 are needed; ben, dia did not"
    world.clients["ana"].share(bundle(world, {name: honest[name] for name in ("ana", "ben", "cem")}))


def test_a_bundle_that_does_not_hold_what_it_says_is_refused(world: World) -> None:
    honest = world.advertise()
    parts = [prefixed(honest[name]) for name in world.roster]
    everybody = write_clients(world.session, NAMES)
    huge = (2**32 - 1).to_bytes(4, "little")
    for payload in (
        [everybody, *parts[:-1]],
        [everybody, *parts, parts[0]],
        [write_clients(world.session, NAMES[:3]), *parts],
        [b"\x1f", *parts],
        [everybody, huge, *parts],
        [],
    ):
        message = write_as_aggregator(MessageKind.ADVERTISEMENTS, payload, session=world.session)
        assert refusal(world.clients["ana"].share, message).code is ErrorCode.MESSAGE_MALFORMED
    world.clients["ana"].share(bundle(world, honest))


@pytest.mark.parametrize(
    "changes",
    [
        {"session_key": b""},
        {"session_key": bytes(31)},
        {"mask_keys": bytes(32)},
        {"mask_keys": bytes(96)},
        {"neighbours": frozenset()},
        {"neighbours": frozenset({"ana", "cem"})},
        {"neighbours": frozenset({"ana", "ben", "cem"})},
        {"neighbours": frozenset({"ana", "ben", "cem", "dia"})},
    ],
)
def test_an_advertisement_of_the_wrong_form_is_refused_by_both_sides(world: World, changes) -> None:
    honest, bad = world.advertise(), forged(world, "ben", **changes)
    assert shown_to_ana(world, honest | {"ben": bad}).code is ErrorCode.MESSAGE_MALFORMED
    error = refusal(world.aggregator.handle, "advertise", {"ben": bad})
    assert error.code is ErrorCode.MESSAGE_MALFORMED
    assert "neighbours" not in changes or "ben has not chosen" in error.message
    world.handle("advertise", honest)


# Points of small order: 0, 1, -1, one of order 8; p and p + 1 are 0 and 1 again, and the top bit is ignored.
_FIELD = 2**255 - 19
_ORDER_8 = 325606250916557431795983626356110631294008115727848805560023387167927233504
UNUSABLE = [0, 1, _FIELD - 1, _ORDER_8, _FIELD, _FIELD + 1, _ORDER_8 + 2**255]


@pytest.mark.parametrize("which", ["session_key", "mask_keys"])
@pytest.mark.parametrize("point", UNUSABLE)
def test_a_public_key_that_makes_every_secret_zero_is_refused_by_both_sides(
    world: World, which: str, point: int
) -> None:
    """Refused here, it costs its owner alone. Later it would stop everybody's set-up or slot."""
    key = point.to_bytes(32, "little")
    with pytest.raises(ValueError, match="shared key"):
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(key))
    change = {which: key if which == "session_key" else SessionKey().public_key + key}
    honest, bad = world.advertise(), forged(world, "ben", **change)
    error = refusal(world.aggregator.handle, "advertise", {"ben": bad})
    assert error.code is ErrorCode.MESSAGE_MALFORMED
    assert "ben" in error.message
    error = shown_to_ana(world, honest | {"ben": bad})
    assert error.code is ErrorCode.MESSAGE_MALFORMED
    assert "ben" in error.message
    answers = world.handle("advertise", {name: honest[name] for name in ("ana", "cem", "dia")})
    world.agree(world.handle("share", world.share(answers)))


# Shares


def shared(world: World) -> dict[str, bytes]:
    return world.share(world.handle("advertise", world.advertise()))


def directory_of(world: World):
    return world.aggregator._setup.directory


def boxes_of(world: World, message: bytes) -> dict[str, bytes]:
    return read_shares(message, directory=directory_of(world))[1]


def test_boxes_reach_whom_they_are_for_and_nobody_else(world: World) -> None:
    messages = shared(world)
    directory = directory_of(world)
    sent = {name: boxes_of(world, message) for name, message in messages.items()}
    assert all(set(boxes) == set(NAMES) - {name} for name, boxes in sent.items())
    for recipient in NAMES:
        delivery = write_share_delivery(sent, directory=directory, recipient=recipient)
        sharers, boxes = read_share_delivery(delivery, directory=directory, recipient=recipient)
        assert sharers == NAMES
        assert boxes == {name: sent[name][recipient] for name in NAMES if name != recipient}
        error = refusal(
            read_share_delivery,
            delivery,
            directory=directory,
            recipient=next(name for name in NAMES if name != recipient),
        )
        assert error.code is ErrorCode.MESSAGE_UNEXPECTED
        assert "the wrong recipient" in error.message


def delivery_for_ben(world: World, sent: dict[str, dict[str, bytes]]) -> bytes:
    return write_share_delivery(sent, directory=directory_of(world), recipient="ben")


def test_a_box_for_somebody_else_by_somebody_else_or_changed_does_not_open(world: World) -> None:
    sent = {name: boxes_of(world, message) for name, message in shared(world).items()}
    spoilt = bytearray(sent["ana"]["ben"])
    spoilt[40] ^= 1
    # Boxes of ana and cem are of one size: both may make the key, or neither.
    for change in (
        {"ana": {"ben": sent["ana"]["cem"]}},
        {"ana": {"ben": sent["cem"]["ben"][:1] + sent["ana"]["ben"][1:]}},
        {"ana": {"ben": bytes(spoilt)}},
        {"cem": {"ben": sent["dia"]["ben"]}, "dia": {"ben": sent["cem"]["ben"]}},
    ):
        error = refusal(world.clients["ben"].agree, delivery_for_ben(world, sent | change))
        assert error.code is ErrorCode.SIGNATURE_INVALID
        assert f"the secrets that {next(iter(change))} sealed for ben do not open" in error.message
    world.clients["ben"].agree(delivery_for_ben(world, sent))


def test_a_box_of_an_earlier_set_up_does_not_open(world: World) -> None:
    earlier = {name: boxes_of(world, message) for name, message in shared(world).items()}
    world.aggregator.begin_setup(1)
    later = world.share(world.handle("advertise", world.advertise(epoch=1)))
    sent = {name: boxes_of(world, message) for name, message in later.items()}
    delivery = delivery_for_ben(world, sent | {"ana": earlier["ana"]})
    assert refusal(world.clients["ben"].agree, delivery).code is ErrorCode.SIGNATURE_INVALID
    world.clients["ben"].agree(delivery_for_ben(world, sent))


def test_two_clients_who_were_shown_different_keys_cannot_open_each_others_boxes(world: World) -> None:
    """The aggregator leaves dia out for ana alone: their boxes are bound to what each was shown."""
    honest = world.advertise()
    everybody, three = bundle(world, honest), bundle(world, {name: honest[name] for name in NAMES[:3]})
    directory = read_advertisements(everybody, epoch=0, session=world.session)
    smaller = read_advertisements(three, epoch=0, session=world.session)
    sent = {
        name: read_shares(world.clients[name].share(everybody), directory=directory)[1]
        for name in ("ben", "cem", "dia")
    }
    sent["ana"] = read_shares(world.clients["ana"].share(three), directory=smaller)[1]
    # Even where the sizes fit, which is the aggregator's to arrange.
    size = len(sent["cem"]["ben"])
    sent["ana"] = {"ben": sent["ana"]["ben"].ljust(size, b"\0")[:size]}
    delivery = write_share_delivery(
        {name: sent[name] for name in ("ben", "cem", "ana")}, directory=directory, recipient="ben"
    )
    assert refusal(world.clients["ben"].agree, delivery).code in {
        ErrorCode.SIGNATURE_INVALID,
        ErrorCode.MESSAGE_MALFORMED,
    }


def test_a_delivery_that_leaves_somebody_out_is_refused(world: World) -> None:
    sent = {name: boxes_of(world, message) for name, message in shared(world).items()}
    too_few = {name: sent[name] for name in ("ben", "cem")}
    error = refusal(world.clients["ben"].agree, delivery_for_ben(world, too_few))
    assert error.code is ErrorCode.COHORT_INCOMPLETE
    assert error.message.endswith("ana, dia did not")
    error = refusal(
        world.clients["ben"].agree, delivery_for_ben(world, {n: sent[n] for n in ("ana", "cem", "dia")})
    )
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "ben has shared" in error.message
    world.clients["ben"].agree(delivery_for_ben(world, {n: sent[n] for n in ("ana", "ben", "dia")}))


def test_a_sharer_who_has_not_advertised_is_refused(world: World) -> None:
    present = ("ana", "ben", "cem")
    answers = world.handle("advertise", world.advertise(present))
    sent = {name: boxes_of(world, message) for name, message in world.share(answers).items()}
    message = write_as_aggregator(
        MessageKind.SHARE_DELIVERY,
        [write_clients(world.session, NAMES), sent["ana"]["ben"], sent["cem"]["ben"]],
        session=world.session,
        recipient="ben",
    )
    error = refusal(world.clients["ben"].agree, message)
    assert error.code is ErrorCode.MESSAGE_MALFORMED
    assert "who has not advertised" in error.message


def test_a_delivery_of_the_wrong_size_is_refused(world: World) -> None:
    sent = {name: boxes_of(world, message) for name, message in shared(world).items()}
    boxes = [sent[name]["ben"] for name in ("ana", "cem", "dia")]
    everybody = write_clients(world.session, NAMES)
    for payload in (
        [],
        [everybody],
        [everybody, *boxes[:-1]],
        [everybody, *boxes, b"\0"],
        [b"\xff", *boxes],
        [everybody, boxes[0][:-1], *boxes[1:]],
    ):
        message = write_as_aggregator(
            MessageKind.SHARE_DELIVERY, payload, session=world.session, recipient="ben"
        )
        assert refusal(world.clients["ben"].agree, message).code is ErrorCode.MESSAGE_MALFORMED
    world.clients["ben"].agree(delivery_for_ben(world, sent))


def test_the_aggregator_refuses_boxes_that_do_not_fit_their_recipients(world: World) -> None:
    messages = shared(world)
    boxes = list(boxes_of(world, messages["ana"]).values())
    wrong = [[], boxes[:-1], [*boxes, boxes[0]], [boxes[0] + b"\0", *boxes[1:]], [boxes[0][:-1], *boxes[1:]]]
    for payload in wrong:
        message = write_as_client(
            MessageKind.SHARES, payload, session=world.session, identity=world.identities["ana"]
        )
        error = refusal(world.aggregator.handle, "share", {"ana": message})
        assert error.code is ErrorCode.MESSAGE_MALFORMED
    # None of this changed the aggregator: the honest messages still pass.
    world.handle("share", messages)


def test_who_has_not_advertised_cannot_share(world: World) -> None:
    answers = world.handle("advertise", world.advertise(("ana", "ben", "cem")))
    messages = world.share(answers)
    boxes = dict.fromkeys(("ana", "ben", "cem"), bytes(100))
    stranger = write_shares(boxes, directory=directory_of(world), identity=world.identities["dia"])
    error = refusal(world.aggregator.handle, "share", {"dia": stranger})
    assert "dia shares secrets and has not advertised" in error.message
    world.agree(world.handle("share", messages))
