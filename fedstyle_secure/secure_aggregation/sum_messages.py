"""The messages between an upload and its sum: who survived, who agrees, and what unmasks the sum.

Flows in: survivor lists, revealed shares, untrusted messages. Flows out: messages, and checked content. Never
seen here: vectors, shares of two kinds of the same client.

    aggregator -> survivors   SURVIVORS       the survivor list
    client -> aggregator      CONFIRMATION    hash of the cohort 32 | the survivor list
    aggregator -> survivors   CONFIRMATIONS   who has confirmed | their signatures, 64 bytes each
    client -> aggregator      UNMASKING       a share, 32 bytes, for each client that it holds shares of

Sets of clients are a bit for each of the roster, lowest first; lists are in roster order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from fedstyle_secure.secure_aggregation.client_sets import (
    client_set_bytes,
    read_clients,
    require_threshold,
    write_clients,
)
from fedstyle_secure.secure_aggregation.framing import ClientId, Reader
from fedstyle_secure.secure_aggregation.keys import Identity
from fedstyle_secure.secure_aggregation.refusals import survivors_inconsistent
from fedstyle_secure.secure_aggregation.secret_sharing import SECRET_BYTES
from fedstyle_secure.secure_aggregation.statement import Statement
from fedstyle_secure.secure_aggregation.wire import (
    Label,
    MessageKind,
    Session,
    read_from_aggregator,
    read_from_client,
    write_as_aggregator,
    write_as_client,
)

__all__ = [
    "SurvivorList",
    "read_survivors",
    "read_unmasking",
    "write_survivors",
    "write_unmasking",
]


@final
@dataclass(frozen=True)
class SurvivorList:
    """Whose uploads are in a sum, under the set-up that the sum was made in. Public.

    Attributes:
        session: the session.
        cohort: hash of all that the set-up agreed on.
        label: which sum.
        clients: the survivors, in roster order.
    """

    session: Session
    cohort: bytes
    label: Label
    clients: tuple[ClientId, ...]

    @property
    def statement(self) -> Statement:
        """What the survivors sign before anybody reveals a share."""
        return Statement(
            kind=MessageKind.CONFIRMATION,
            answer_kind=MessageKind.CONFIRMATIONS,
            session=self.session,
            label=self.label,
            content=self.cohort + write_clients(self.session, self.clients),
            signers=self.clients,
            what=f"confirming who is in the sum of {self.label}",
        )


def write_survivors(survivors: SurvivorList) -> bytes:
    """The survivor list for everybody."""
    return write_as_aggregator(
        MessageKind.SURVIVORS,
        [write_clients(survivors.session, survivors.clients)],
        session=survivors.session,
        label=survivors.label,
    )


def read_survivors(data: bytes, *, session: Session) -> tuple[Label, tuple[ClientId, ...]]:
    """Which sum, and who is said to be in it.

    Raises:
        ProtocolError: COHORT_INCOMPLETE if fewer than the threshold are.
    """
    message = read_from_aggregator(
        data,
        kind=MessageKind.SURVIVORS,
        session=session,
        label=None,
        payload_limit_bytes=client_set_bytes(session),
    )
    reader = Reader(message.payload)
    clients = read_clients(reader, session)
    reader.end()
    require_threshold(session, clients, f"the sum of {message.label}")
    return message.label, clients


def write_unmasking(shares: bytes, *, survivors: SurvivorList, identity: Identity) -> bytes:
    """The shares that a client reveals."""
    return write_as_client(
        MessageKind.UNMASKING,
        [shares],
        session=survivors.session,
        identity=identity,
        label=survivors.label,
    )


def read_unmasking(
    data: bytes, *, survivors: SurvivorList, held: Mapping[ClientId, Sequence[ClientId]]
) -> tuple[ClientId, dict[ClientId, bytes]]:
    """Who reveals shares, and the share of each client, on the aggregator's side.

    Args:
        data: untrusted bytes.
        survivors: the list that was confirmed.
        held: for each survivor the clients whose shares it holds, in order.

    Raises:
        ProtocolError: somebody else than a survivor, or not a share for each.
    """
    _, message = read_from_client(
        data,
        kinds=[MessageKind.UNMASKING],
        session=survivors.session,
        label=survivors.label,
        payload_limit_bytes=SECRET_BYTES * max(len(owners) for owners in held.values()),
    )
    if message.sender not in held:
        raise survivors_inconsistent(f"{message.sender} is not on the survivor list of {survivors.label}")
    reader = Reader(message.payload)
    shares = {owner: bytes(reader.take(SECRET_BYTES)) for owner in held[message.sender]}
    reader.end()
    return message.sender, shares
