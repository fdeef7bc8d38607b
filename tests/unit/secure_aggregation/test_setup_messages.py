from __future__ import annotations

import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.framing import prefixed
from fedstyle_secure.secure_aggregation.key_exchange import SessionKey
from fedstyle_secure.secure_aggregation.setup_messages import (
    write_advertisement,
    write_advertisements,
    write_key_delivery,
)
from fedstyle_secure.secure_aggregation.wire import MessageKind, write_as_aggregator, write_as_client


def refusal(call, *arguments) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        call(*arguments)
    return caught.value


def test_a_key_that_the_aggregator_swaps_in_is_refused_by_name(new_world) -> None:
    world, impostor = new_world(), new_world()
    advertised = world.advertise()
    forged = write_advertisement(
        SessionKey().public_key, session=world.session, identity=impostor.identities["ben"]
    )
    bundle = write_advertisements(advertised | {"ben": forged}, session=world.session)
    error = refusal(world.clients["ana"].share_key, bundle)
    assert error.code is ErrorCode.SIGNATURE_INVALID
    assert "ben" in error.message


def test_advertisements_cannot_change_places_or_come_from_another_session(new_world) -> None:
    world = new_world()
    advertised = world.advertise()
    swapped = advertised | {"ana": advertised["ben"], "ben": advertised["ana"]}
    doubled = advertised | {"ben": advertised["cem"]}
    earlier = type(world)(world.identities, world.roster, b"earlier session!")
    replayed = advertised | {"ben": earlier.advertise()["ben"]}
    for messages in (swapped, doubled, replayed):
        bundle = write_advertisements(messages, session=world.session)
        assert refusal(world.clients["ana"].share_key, bundle).code is ErrorCode.MESSAGE_UNEXPECTED


def test_a_client_notices_that_its_own_key_was_exchanged(new_world) -> None:
    """Only somebody with its identity could do this; two sessions of one identity at once look like it."""
    world = new_world()
    advertised = world.advertise()
    second = write_advertisement(
        SessionKey().public_key, session=world.session, identity=world.identities["ana"]
    )
    bundle = write_advertisements(advertised | {"ana": second}, session=world.session)
    error = refusal(world.clients["ana"].share_key, bundle)
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "another session key" in error.message


def test_an_incomplete_or_overfull_bundle_is_refused(new_world) -> None:
    world = new_world()
    advertised = world.advertise()
    parts = [prefixed(advertised[name]) for name in world.roster]
    for payload in (parts[:-1], [*parts, parts[0]], []):
        bundle = write_as_aggregator(MessageKind.ADVERTISEMENTS, payload, session=world.session)
        assert refusal(world.clients["ana"].share_key, bundle).code is ErrorCode.MESSAGE_MALFORMED


@pytest.mark.parametrize("public_key", [b"", bytes(31), bytes(32)])
def test_a_session_key_that_is_none_is_refused(new_world, public_key: bytes) -> None:
    world = new_world()
    bad = write_advertisement(public_key, session=world.session, identity=world.identities["ben"])
    bundle = write_advertisements(world.advertise() | {"ben": bad}, session=world.session)
    error = refusal(world.clients["ana"].share_key, bundle)
    assert error.code is ErrorCode.MESSAGE_MALFORMED
    assert "ben" in error.message


def shared(new_world):
    world = new_world()
    messages = world.share(world.handle("advertise", world.advertise()))
    return world, messages


def test_a_key_for_somebody_else_is_refused(new_world) -> None:
    world, messages = shared(new_world)
    delivered = world.handle("share", messages)
    assert refusal(world.clients["ben"].accept_key, delivered["cem"]).code is ErrorCode.MESSAGE_UNEXPECTED
    # Relabelled by the aggregator, the box inside still names its recipient.
    inside = delivered["cem"].index(b"FSSA", 4)
    relabelled = write_key_delivery(delivered["cem"][inside:-64], session=world.session, recipient="ben")
    error = refusal(world.clients["ben"].accept_key, relabelled)
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "recipient" in error.message


def test_a_key_that_the_first_client_did_not_seal_is_refused(new_world) -> None:
    world, messages = shared(new_world)
    world.handle("share", messages)
    for identity, code in (
        (world.identities["cem"], ErrorCode.MESSAGE_UNEXPECTED),
        (new_world().identities["ana"], ErrorCode.SIGNATURE_INVALID),
    ):
        box = write_as_client(
            MessageKind.SEALED_KEY, [bytes(100)], session=world.session, identity=identity, recipient="ben"
        )
        delivery = write_key_delivery(box, session=world.session, recipient="ben")
        assert refusal(world.clients["ben"].accept_key, delivery).code is code


def test_a_missing_or_unwanted_key_is_refused(new_world) -> None:
    world, messages = shared(new_world)
    delivered = world.handle("share", messages)
    nothing = write_key_delivery(None, session=world.session, recipient="ben")
    assert refusal(world.clients["ben"].accept_key, nothing).code is ErrorCode.MESSAGE_MALFORMED
    inside = delivered["ben"].index(b"FSSA", 4)
    unwanted = write_key_delivery(delivered["ben"][inside:-64], session=world.session, recipient="ana")
    assert refusal(world.clients["ana"].accept_key, unwanted).code is ErrorCode.MESSAGE_UNEXPECTED


def test_the_aggregator_refuses_boxes_that_do_not_fit_their_recipients(new_world) -> None:
    world, messages = shared(new_world)
    identity, session = world.identities["ana"], world.session

    def box(recipient: str, sender: str = "ana") -> bytes:
        return prefixed(
            write_as_client(
                MessageKind.SEALED_KEY,
                [b"box"],
                session=session,
                identity=world.identities[sender],
                recipient=recipient,
            )
        )

    wrong = [
        [box("cem"), box("ben")],
        [box("ben")],
        [box("ben"), box("cem"), box("cem")],
        [box("ben"), box("cem", sender="ben")],
        [box("ben"), prefixed(b"nonsense")],
    ]
    for payload in wrong:
        message = write_as_client(MessageKind.KEY_SHARES, payload, session=session, identity=identity)
        assert refusal(world.aggregator.handle, "share", messages | {"ana": message}).code in {
            ErrorCode.MESSAGE_MALFORMED,
            ErrorCode.MESSAGE_UNEXPECTED,
        }
    # None of this changed the aggregator: the honest messages still pass.
    world.handle("share", messages)


def test_who_makes_no_key_must_not_send_one_and_the_first_must(new_world) -> None:
    world, messages = shared(new_world)
    for change in ({"ben": messages["ana"]}, {"ana": messages["ben"]}):
        assert refusal(world.aggregator.handle, "share", messages | change).code in {
            ErrorCode.MESSAGE_MALFORMED,
            ErrorCode.MESSAGE_UNEXPECTED,
        }
