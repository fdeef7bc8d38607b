"""What everybody knows of each other once a set-up's public keys are out.

Flows in: checked advertisements. Flows out: who holds whose shares, who masks with whom, who may make the
decryption key, and a hash that all of it is bound to. Never seen here: secrets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

from fedstyle_secure.secure_aggregation.client_sets import write_clients
from fedstyle_secure.secure_aggregation.framing import ClientId, join
from fedstyle_secure.secure_aggregation.key_exchange import PUBLIC_KEY_BYTES
from fedstyle_secure.secure_aggregation.neighbours import SharingPlan
from fedstyle_secure.secure_aggregation.slot_secrets import SHARES_BYTES_PER_SLOT
from fedstyle_secure.secure_aggregation.statement import Statement
from fedstyle_secure.secure_aggregation.wire import MessageKind, Session

__all__ = ["GROUP_SEED_BYTES", "Advertised", "Directory", "sharing_plan"]

GROUP_SEED_BYTES: Final = 32


def sharing_plan(session: Session) -> SharingPlan:
    """The public constants of who shares with whom."""
    quorum = session.quorum
    return SharingPlan.of(len(session.roster), minimum=quorum.minimum, colluding=quorum.colluding)


@final
@dataclass(frozen=True)
class Advertised:
    """What a client's advertisement says. Public.

    Attributes:
        session_key: X25519 key for boxes.
        mask_keys: X25519 keys of the slots, one after the other.
        neighbours: the clients whom it has chosen to hold its shares and to mask with.
    """

    session_key: bytes
    mask_keys: bytes
    neighbours: frozenset[ClientId]

    def mask_key(self, slot: int) -> bytes:
        """The public mask key of a slot."""
        return self.mask_keys[slot * PUBLIC_KEY_BYTES : (slot + 1) * PUBLIC_KEY_BYTES]


@final
@dataclass(frozen=True)
class Directory:
    """All advertisements of a set-up.

    Attributes:
        session: the session.
        epoch: number of the set-up.
        plan: how many neighbours and holders there are.
        advertised: in roster order, what each client that is there has advertised.
    """

    session: Session
    epoch: int
    plan: SharingPlan
    advertised: Mapping[ClientId, Advertised]

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of everything here."""
        fields = [
            field
            for client, item in self.advertised.items()
            for field in (
                client.encode(),
                item.session_key,
                item.mask_keys,
                write_clients(self.session, item.neighbours),
            )
        ]
        purpose = self.session.binding("directory", self.epoch.to_bytes(4, "little"))
        return hashlib.sha256(join([purpose, *fields])).digest()

    def cohort_hash(self, sharers: Collection[ClientId]) -> bytes:
        """SHA-256 of this and of the clients who have shared their seeds."""
        sharer_bits = write_clients(self.session, sharers)
        return hashlib.sha256(self.session.binding("cohort", self.digest, sharer_bits)).digest()

    def agreement(self, sharers: tuple[ClientId, ...]) -> Statement:
        """What the sharers sign before anybody uploads: that they have the same directory and sharers.

        Without it an aggregator could tell one client alone of other sharers, so that it masks with few or
        none of those who unmask its sum.
        """
        return Statement(
            kind=MessageKind.AGREEMENT,
            answer_kind=MessageKind.AGREEMENTS,
            session=self.session,
            label=self.session.setup_label(self.epoch),
            content=self.cohort_hash(sharers),
            signers=sharers,
            what="agreeing on the cohort of the set-up",
        )

    @cached_property
    def makers(self) -> tuple[ClientId, ...]:
        """The clients who propose a decryption key: as many as it takes for one to finish the set-up."""
        return tuple(self.advertised)[: len(self.advertised) - self.session.threshold + 1]

    @cached_property
    def _maker_set(self) -> frozenset[ClientId]:
        return frozenset(self.makers)

    def holders(self, owner: ClientId) -> tuple[ClientId, ...]:
        """Who is to hold shares of a client's seeds, itself included, in roster order, there or not."""
        chosen = self.advertised[owner].neighbours
        return tuple(client for client in self.session.roster if client in chosen or client == owner)

    def neighbours(self, client: ClientId, among: Iterable[ClientId]) -> tuple[ClientId, ...]:
        """Those of some clients who share a mask with a client: chosen by it, or having chosen it."""
        chosen = self.advertised[client].neighbours
        return tuple(
            other
            for other in among
            if other != client and (other in chosen or client in self.advertised[other].neighbours)
        )

    def box_content_bytes(self, sender: ClientId, recipient: ClientId) -> int:
        """How much the sender has to tell the recipient in secret; 0 if nothing."""
        seed = GROUP_SEED_BYTES * (sender in self._maker_set)
        holds = recipient in self.advertised[sender].neighbours
        return seed + holds * self.session.slots * SHARES_BYTES_PER_SLOT
