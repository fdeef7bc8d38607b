"""The messages of a set-up: public keys for everybody, sealed secrets from each client for each other.

Flows in: public keys, sealed boxes, untrusted messages. Flows out: messages, and checked keys and boxes.
Never seen here: vectors, what is in a box.

    client -> aggregator   ADVERTISEMENT    session key 32 | a mask key 32 for each slot | chosen neighbours
    aggregator -> all      ADVERTISEMENTS   who is there | each one's ADVERTISEMENT as it was signed
    client -> aggregator   SHARES           a box for each other client that it has something to tell
    aggregator -> client   SHARE_DELIVERY   who has shared | from each of them the box for this client
    client -> aggregator   AGREEMENT        hash of all of this, see `statement`
    aggregator -> all      AGREEMENTS       who has signed it | their signatures

Sets of clients are a bit for each of the roster, lowest first. Messages come in roster order with their
length in front (4 bytes); boxes come in roster order and have a length that `Directory` knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fedstyle_secure.secure_aggregation.client_sets import (
    client_set_bytes,
    read_clients,
    require_threshold,
    write_clients,
)
from fedstyle_secure.secure_aggregation.directory import (
    GROUP_SEED_BYTES,
    Advertised,
    Directory,
    sharing_plan,
)
from fedstyle_secure.secure_aggregation.framing import ClientId, Reader, prefixed
from fedstyle_secure.secure_aggregation.key_exchange import PUBLIC_KEY_BYTES, SEALING_BYTES, is_low_order
from fedstyle_secure.secure_aggregation.keys import Identity
from fedstyle_secure.secure_aggregation.refusals import malformed
from fedstyle_secure.secure_aggregation.slot_secrets import SHARES_BYTES_PER_SLOT
from fedstyle_secure.secure_aggregation.wire import (
    LARGEST_ENVELOPE_BYTES,
    MessageKind,
    Session,
    read_from_aggregator,
    read_from_client,
    write_as_aggregator,
    write_as_client,
)

__all__ = [
    "read_advertisement",
    "read_advertisements",
    "read_share_delivery",
    "read_shares",
    "write_advertisement",
    "write_advertisements",
    "write_share_delivery",
    "write_shares",
]

_LENGTH_BYTES: Final = 4


def write_advertisement(advertised: Advertised, *, epoch: int, session: Session, identity: Identity) -> bytes:
    """A client's public keys and its choice of neighbours."""
    return write_as_client(
        MessageKind.ADVERTISEMENT,
        [advertised.session_key, advertised.mask_keys, write_clients(session, advertised.neighbours)],
        session=session,
        identity=identity,
        label=session.setup_label(epoch),
    )


def read_advertisement(
    data: bytes, *, epoch: int, session: Session, sender: ClientId | None = None
) -> tuple[ClientId, Advertised]:
    """Who advertises, and what.

    Raises:
        ProtocolError: it was not signed by a client of the roster (by `sender`, if given) for this set-up, or
            its neighbours are not as many as the session's plan says.
    """
    size = PUBLIC_KEY_BYTES * (1 + session.slots) + client_set_bytes(session)
    _, message = read_from_client(
        data,
        kinds=[MessageKind.ADVERTISEMENT],
        session=session,
        sender=sender,
        label=session.setup_label(epoch),
        payload_limit_bytes=size,
    )
    reader = Reader(message.payload)
    session_key = bytes(reader.take(PUBLIC_KEY_BYTES))
    mask_keys = bytes(reader.take(PUBLIC_KEY_BYTES * session.slots))
    neighbours = read_clients(reader, session)
    reader.end()
    keys = session_key + mask_keys
    if any(is_low_order(keys[at : at + PUBLIC_KEY_BYTES]) for at in range(0, len(keys), PUBLIC_KEY_BYTES)):
        raise malformed(f"a public key of {message.sender} is not a usable X25519 key")
    if len(neighbours) != sharing_plan(session).out_degree or message.sender in neighbours:
        raise malformed(f"{message.sender} has not chosen as many neighbours as the session asks for")
    return message.sender, Advertised(session_key, mask_keys, frozenset(neighbours))


def write_advertisements(advertisements: Mapping[ClientId, bytes], *, epoch: int, session: Session) -> bytes:
    """All advertisements, relayed as they are."""
    messages = [prefixed(advertisements[client]) for client in session.roster if client in advertisements]
    return write_as_aggregator(
        MessageKind.ADVERTISEMENTS,
        [write_clients(session, advertisements), *messages],
        session=session,
        label=session.setup_label(epoch),
    )


def read_advertisements(data: bytes, *, epoch: int, session: Session) -> Directory:
    """Everybody's public keys, each checked against the roster.

    Raises:
        ProtocolError: too few are there, or an advertisement stands in another's place or was not signed by
            its client.
    """
    bits = client_set_bytes(session)
    largest = LARGEST_ENVELOPE_BYTES + PUBLIC_KEY_BYTES * (1 + session.slots) + bits
    message = read_from_aggregator(
        data,
        kind=MessageKind.ADVERTISEMENTS,
        session=session,
        label=session.setup_label(epoch),
        payload_limit_bytes=bits + len(session.roster) * (_LENGTH_BYTES + largest),
    )
    reader = Reader(message.payload)
    clients = read_clients(reader, session)
    require_threshold(session, clients, "the set-up")
    advertised = dict(
        read_advertisement(
            bytes(reader.prefixed(longest=largest)), epoch=epoch, session=session, sender=client
        )
        for client in clients
    )
    reader.end()
    return Directory(session, epoch, sharing_plan(session), advertised)


def write_shares(boxes: Mapping[ClientId, bytes], *, directory: Directory, identity: Identity) -> bytes:
    """A client's boxes for the others."""
    session = directory.session
    return write_as_client(
        MessageKind.SHARES,
        [boxes[client] for client in directory.advertised if client in boxes],
        session=session,
        identity=identity,
        label=session.setup_label(directory.epoch),
    )


def read_shares(data: bytes, *, directory: Directory) -> tuple[ClientId, dict[ClientId, bytes]]:
    """Who shares, and its boxes, unopened, by recipient.

    Raises:
        ProtocolError: it was not signed by a client that has advertised, or has not the size that it must.
    """
    session = directory.session
    largest_box = GROUP_SEED_BYTES + session.slots * SHARES_BYTES_PER_SLOT + SEALING_BYTES
    _, message = read_from_client(
        data,
        kinds=[MessageKind.SHARES],
        session=session,
        label=session.setup_label(directory.epoch),
        payload_limit_bytes=largest_box * len(directory.advertised),
    )
    sender = message.sender
    if sender not in directory.advertised:
        raise malformed(f"{sender} shares secrets and has not advertised")
    reader = Reader(message.payload)
    boxes = {peer: bytes(reader.take(size)) for peer, size in _box_sizes(directory, sender).items()}
    reader.end()
    return sender, boxes


def write_share_delivery(
    shared: Mapping[ClientId, Mapping[ClientId, bytes]], *, directory: Directory, recipient: ClientId
) -> bytes:
    """The boxes for one client, relayed as they are."""
    session = directory.session
    boxes = [
        shared[client][recipient]
        for client in directory.advertised
        if client in shared and recipient in shared[client]
    ]
    return write_as_aggregator(
        MessageKind.SHARE_DELIVERY,
        [write_clients(session, shared), *boxes],
        session=session,
        recipient=recipient,
        label=session.setup_label(directory.epoch),
    )


def read_share_delivery(
    data: bytes, *, directory: Directory, recipient: ClientId
) -> tuple[tuple[ClientId, ...], dict[ClientId, bytes]]:
    """Who has finished the set-up, and the boxes for one client, by sender.

    Raises:
        ProtocolError: too few have finished it, or somebody who has not advertised, or a box is missing.
    """
    session = directory.session
    sizes = {sender: directory.box_content_bytes(sender, recipient) for sender in directory.advertised}
    message = read_from_aggregator(
        data,
        kind=MessageKind.SHARE_DELIVERY,
        session=session,
        recipient=recipient,
        label=session.setup_label(directory.epoch),
        payload_limit_bytes=client_set_bytes(session) + sum(size + SEALING_BYTES for size in sizes.values()),
    )
    reader = Reader(message.payload)
    sharers = read_clients(reader, session)
    require_threshold(session, sharers, "the set-up")
    if not set(sharers) <= set(directory.advertised):
        raise malformed("somebody has shared who has not advertised")
    boxes = {
        sender: bytes(reader.take(sizes[sender] + SEALING_BYTES))
        for sender in sharers
        if sender != recipient and sizes[sender]
    }
    reader.end()
    return sharers, boxes


def _box_sizes(directory: Directory, sender: ClientId) -> dict[ClientId, int]:
    contents = {
        peer: directory.box_content_bytes(sender, peer) for peer in directory.advertised if peer != sender
    }
    return {peer: size + SEALING_BYTES for peer, size in contents.items() if size}
