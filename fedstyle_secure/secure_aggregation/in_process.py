"""All parties of one secure sum in one process: for documentation, tests and trying things out.

Flows in: every client's vector. Flows out: their sum. The messages are the real ones, but whoever runs this
holds all vectors and all keys, so nothing is hidden from that process.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from fedstyle_secure.secure_aggregation.aggregator import ProtocolStage, SumAggregator
from fedstyle_secure.secure_aggregation.client import SumClient
from fedstyle_secure.secure_aggregation.encoding import Rounding, SumSettings, decode
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.keys import Identity, Roster
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate
from fedstyle_secure.secure_aggregation.wire import DEFAULT_SLOTS

__all__ = ["Cohort", "sum_securely"]

_NO_POLICY = bytes(32)
_NO_MODEL = bytes(32)
_ANY_TWO = Quorum(minimum=2, colluding=0)


@final
@dataclass(frozen=True)
class Cohort:
    """The clients and the aggregator of one session.

    Attributes:
        clients: the clients, in roster order.
        aggregator: the blind party.
    """

    clients: Mapping[ClientId, SumClient]
    aggregator: SumAggregator

    @classmethod
    def assemble(
        cls,
        client_ids: Sequence[ClientId],
        *,
        quorum: Quorum = _ANY_TWO,
        slots: int = DEFAULT_SLOTS,
        policy_hash: bytes = _NO_POLICY,
        rounding: Rounding | None = None,
    ) -> Cohort:
        """Make identities, a roster and a session that is ready for uploads.

        Args:
            client_ids: names of 2 to 1024 clients.
            quorum: who is enough.
            slots: how many sums the set-up prepares.
            policy_hash: 32 bytes that all agree on.
            rounding: how clients round; at random unless given.
        """
        identities = [Identity.generate(client_id) for client_id in client_ids]
        roster = Roster([identity.public for identity in identities])
        session_id = secrets.token_bytes(16)
        clients = {
            identity.client_id: SumClient(
                identity=identity,
                roster=roster,
                session_id=session_id,
                policy_hash=policy_hash,
                quorum=quorum,
                slots=slots,
                rounding=rounding,
            )
            for identity in identities
        }
        aggregator = SumAggregator(
            roster=roster, session_id=session_id, policy_hash=policy_hash, quorum=quorum, slots=slots
        )
        cohort = cls(clients, aggregator)
        cohort.set_up()
        return cohort

    def set_up(self, *, epoch: int = 0) -> None:
        """Advertise, share, agree, accept: for everybody."""
        if epoch > self.aggregator.epoch:
            self.aggregator.begin_setup(epoch)
        keys = {name: client.advertise(epoch=epoch) for name, client in self.clients.items()}
        directories = self.aggregator.handle(ProtocolStage.ADVERTISE, keys)
        boxes = {name: client.share(directories[name]) for name, client in self.clients.items()}
        deliveries = self.aggregator.handle(ProtocolStage.SHARE, boxes)
        signed = {name: client.agree(deliveries[name]) for name, client in self.clients.items()}
        agreements = self.aggregator.handle(ProtocolStage.AGREE, signed)
        for name, client in self.clients.items():
            client.accept(agreements[name])

    def upload(
        self,
        vectors: Mapping[ClientId, Float[np.ndarray, " values"]],
        settings: SumSettings,
        *,
        round_number: int,
        slot: int | None = None,
    ) -> dict[ClientId, bytes]:
        """The uploads of the clients whose vectors are given; the slot is the round's unless given."""
        return {
            name: self.clients[name].upload(
                ClippedUpdate(vector),
                settings=settings,
                slot=round_number if slot is None else slot,
                stage="sum",
                round_number=round_number,
                model_hash=_NO_MODEL,
            )
            for name, vector in vectors.items()
        }

    def finish(self, uploads: Mapping[ClientId, bytes]) -> dict[ClientId, bytes]:
        """From uploads to the sealed sum, with everybody who has uploaded."""
        survivors = self.aggregator.handle(ProtocolStage.UPLOAD, uploads)
        signed = {name: self.clients[name].confirm(message) for name, message in survivors.items()}
        confirmed = self.aggregator.handle(ProtocolStage.CONFIRM, signed)
        shares = {name: self.clients[name].unmask(message) for name, message in confirmed.items()}
        return self.aggregator.handle(ProtocolStage.UNMASK, shares)


def sum_securely(
    vectors: Mapping[ClientId, Float[np.ndarray, " values"]], *, value_limit: float, value_bits: int = 16
) -> Float[np.ndarray, " values"]:
    """Run the whole protocol for one sum, in this process.

    Args:
        vectors: each client's vector of finite floats, all of the same length.
        value_limit: values are clamped to plus or minus this.
        value_bits: bits that a value is rounded to, 8 to 24.

    Returns:
        The sum of all vectors, off by less than one rounding step for each client.

    Raises:
        SetupError: fewer than two vectors, or more than 1,024.
        UsageError: vectors of different lengths, values that are not finite, or bits or limit out of range.

    Example:
        >>> import numpy as np
        >>> total = sum_securely(
        ...     {"ana": np.array([0.25, -1.0]), "ben": np.array([0.5, 0.5])}, value_limit=1.0
        ... )
        >>> bool(np.allclose(total, [0.75, -0.5], atol=1e-4))
        True
    """
    names = list(vectors)
    cohort = Cohort.assemble(names, slots=1)
    settings = SumSettings(
        length=len(vectors[names[0]]), value_bits=value_bits, value_limit=value_limit, cohort_cap=len(names)
    )
    sums = cohort.finish(cohort.upload(vectors, settings, round_number=0))
    return decode(cohort.clients[names[0]].open(sums[names[0]]), settings)
