"""The messages of the set-up: session keys for everybody, the decryption key for each client alone.

Flows in: public session keys, sealed keys, untrusted messages. Flows out: messages, and checked keys. Never
seen here: vectors.

    client -> aggregator   ADVERTISEMENT         session key 32
    aggregator -> all      ADVERTISEMENTS        every client's ADVERTISEMENT as it was signed
    first -> aggregator    KEY_SHARES            a SEALED_KEY, signed, for every other client
    others -> aggregator   KEY_ACKNOWLEDGEMENT   nothing
    aggregator -> client   KEY_DELIVERY          the SEALED_KEY for this client; nothing for the first

Lists are in roster order, each item with its length in front (4 bytes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fedstyle_secure.secure_aggregation.encryption import BfvKey
from fedstyle_secure.secure_aggregation.framing import ClientId, Reader, prefixed
from fedstyle_secure.secure_aggregation.key_exchange import (
    PUBLIC_KEY_BYTES,
    SEALED_KEY_BYTES,
    PairSecret,
    open_sealed_key,
    seal_key,
)
from fedstyle_secure.secure_aggregation.keys import Identity
from fedstyle_secure.secure_aggregation.refusals import malformed, unexpected
from fedstyle_secure.secure_aggregation.wire import (
    Buffer,
    MessageKind,
    Session,
    read_from_aggregator,
    read_from_client,
    write_as_aggregator,
    write_as_client,
)

__all__ = [
    "check_advertisement",
    "read_advertisements",
    "read_key_delivery",
    "read_key_shares",
    "write_advertisement",
    "write_advertisements",
    "write_key_acknowledgement",
    "write_key_delivery",
    "write_key_shares",
]

_LARGEST_ENVELOPE: Final = 1024
_LARGEST_ADVERTISEMENT: Final = _LARGEST_ENVELOPE + PUBLIC_KEY_BYTES
_LARGEST_SHARE: Final = _LARGEST_ENVELOPE + SEALED_KEY_BYTES
_LENGTH_BYTES: Final = 4


def write_advertisement(public_key: bytes, *, session: Session, identity: Identity) -> bytes:
    """A client's public session key."""
    return write_as_client(MessageKind.ADVERTISEMENT, [public_key], session=session, identity=identity)


def check_advertisement(data: bytes, *, session: Session, sender: ClientId) -> bytes:
    """The public session key in a client's advertisement.

    Raises:
        ProtocolError: it was not signed by `sender` for this session.
    """
    _, message = read_from_client(
        data,
        kinds=[MessageKind.ADVERTISEMENT],
        session=session,
        sender=sender,
        payload_limit_bytes=PUBLIC_KEY_BYTES,
    )
    if len(message.payload) != PUBLIC_KEY_BYTES:
        raise malformed(f"the session key of {sender} has the wrong size")
    return bytes(message.payload)


def write_advertisements(advertisements: Mapping[ClientId, bytes], *, session: Session) -> bytes:
    """All clients' advertisements, relayed as they are."""
    payload = [prefixed(advertisements[client]) for client in session.roster]
    return write_as_aggregator(MessageKind.ADVERTISEMENTS, payload, session=session)


def read_advertisements(data: bytes, *, session: Session) -> dict[ClientId, bytes]:
    """Every client's public session key, each checked against the roster.

    Raises:
        ProtocolError: an advertisement is missing, stands in another's place, or was not signed by its
            client.
    """
    limit = len(session.roster) * (_LENGTH_BYTES + _LARGEST_ADVERTISEMENT)
    message = read_from_aggregator(
        data, kind=MessageKind.ADVERTISEMENTS, session=session, payload_limit_bytes=limit
    )
    reader = Reader(message.payload)
    public_keys = {
        client: check_advertisement(
            bytes(reader.prefixed(longest=_LARGEST_ADVERTISEMENT)), session=session, sender=client
        )
        for client in session.roster
    }
    reader.end()
    return public_keys


def write_key_shares(
    key: BfvKey, pairs: Mapping[ClientId, PairSecret], *, session: Session, identity: Identity
) -> bytes:
    """The decryption key, sealed and signed for each peer."""
    return write_as_client(
        MessageKind.KEY_SHARES,
        [
            prefixed(_write_share(key, pairs[peer], session=session, identity=identity, recipient=peer))
            for peer in _peers(session)
        ],
        session=session,
        identity=identity,
    )


def write_key_acknowledgement(*, session: Session, identity: Identity) -> bytes:
    """What a client sends that makes no key."""
    return write_as_client(MessageKind.KEY_ACKNOWLEDGEMENT, [], session=session, identity=identity)


def read_key_shares(data: bytes, *, session: Session, sender: ClientId) -> dict[ClientId, bytes]:
    """A client's message of stage `share`, on the aggregator's side.

    Returns:
        From the first of the roster: the signed box for each other client, unopened. From another: nothing.

    Raises:
        ProtocolError: the message is not what this client must send.
    """
    is_first = sender == session.roster.first
    limit = (len(session.roster) - 1) * (_LENGTH_BYTES + _LARGEST_SHARE) if is_first else 0
    _, message = read_from_client(
        data,
        kinds=[MessageKind.KEY_SHARES if is_first else MessageKind.KEY_ACKNOWLEDGEMENT],
        session=session,
        sender=sender,
        payload_limit_bytes=limit,
    )
    if not is_first:
        return {}
    reader = Reader(message.payload)
    shares = {peer: bytes(reader.prefixed(longest=_LARGEST_SHARE)) for peer in _peers(session)}
    reader.end()
    for peer, share in shares.items():
        _read_share(share, session=session, recipient=peer)
    return shares


def write_key_delivery(share: bytes | None, *, session: Session, recipient: ClientId) -> bytes:
    """One client's sealed key, relayed as it is."""
    payload: Sequence[Buffer] = [] if share is None else [share]
    return write_as_aggregator(MessageKind.KEY_DELIVERY, payload, session=session, recipient=recipient)


def read_key_delivery(
    data: bytes, pair: PairSecret | None, *, session: Session, recipient: ClientId
) -> BfvKey | None:
    """The decryption key for a client.

    Args:
        data: untrusted bytes.
        pair: secret shared with the first of the roster; None for the first itself.
        session: the session.
        recipient: who reads.

    Returns:
        The key; None for the first of the roster, who made it.

    Raises:
        ProtocolError: the key was not sealed by the first of the roster for this client and session.
    """
    message = read_from_aggregator(
        data,
        kind=MessageKind.KEY_DELIVERY,
        session=session,
        recipient=recipient,
        payload_limit_bytes=_LARGEST_SHARE,
    )
    if pair is None:
        if len(message.payload):
            raise unexpected(f"the aggregator delivers a key to {recipient}, who has made it")
        return None
    sealed = _read_share(bytes(message.payload), session=session, recipient=recipient)
    return open_sealed_key(sealed, pair, session=session, sender=session.roster.first, recipient=recipient)


def _peers(session: Session) -> tuple[ClientId, ...]:
    return session.roster.client_ids[1:]


def _write_share(
    key: BfvKey, pair: PairSecret, *, session: Session, identity: Identity, recipient: ClientId
) -> bytes:
    sealed = seal_key(key, pair, session=session, sender=identity.client_id, recipient=recipient)
    return write_as_client(
        MessageKind.SEALED_KEY, [sealed], session=session, identity=identity, recipient=recipient
    )


def _read_share(data: bytes, *, session: Session, recipient: ClientId) -> bytes:
    _, message = read_from_client(
        data,
        kinds=[MessageKind.SEALED_KEY],
        session=session,
        sender=session.roster.first,
        recipient=recipient,
        payload_limit_bytes=SEALED_KEY_BYTES,
    )
    return bytes(message.payload)
