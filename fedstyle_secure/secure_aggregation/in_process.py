"""All parties of one secure sum in one process: for documentation, tests and trying things out.

Flows in: every client's vector. Flows out: their sum. The messages are the real ones, but whoever runs this
holds all vectors and all keys, so nothing is hidden from that process.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from fedstyle_secure.secure_aggregation.aggregator import ProtocolStage, SumAggregator
from fedstyle_secure.secure_aggregation.client import SumClient
from fedstyle_secure.secure_aggregation.encoding import SumSettings, decode
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.keys import Identity, Roster
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate

__all__ = ["Cohort", "sum_securely"]

_NO_POLICY = bytes(32)
_NO_MODEL = bytes(32)


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
    def assemble(cls, client_ids: list[ClientId], *, policy_hash: bytes = _NO_POLICY) -> Cohort:
        """Make identities, a roster and a session that is ready for uploads.

        Args:
            client_ids: names of 2 to 1024 clients.
            policy_hash: 32 bytes that all agree on.
        """
        identities = [Identity.generate(client_id) for client_id in client_ids]
        roster = Roster([identity.public for identity in identities])
        session_id = secrets.token_bytes(16)
        clients = {
            identity.client_id: SumClient(
                identity=identity, roster=roster, session_id=session_id, policy_hash=policy_hash
            )
            for identity in identities
        }
        aggregator = SumAggregator(roster=roster, session_id=session_id, policy_hash=policy_hash)
        advertised = aggregator.handle(
            ProtocolStage.ADVERTISE, {name: client.advertise() for name, client in clients.items()}
        )
        keys = aggregator.handle(
            ProtocolStage.SHARE,
            {name: client.share_key(advertised[name]) for name, client in clients.items()},
        )
        for name, client in clients.items():
            client.accept_key(keys[name])
        return cls(clients, aggregator)

    def upload(
        self,
        vectors: Mapping[ClientId, Float[np.ndarray, " values"]],
        settings: SumSettings,
        *,
        round_number: int,
    ) -> dict[ClientId, bytes]:
        """The uploads of the clients whose vectors are given."""
        return {
            name: self.clients[name].upload(
                ClippedUpdate(vector),
                settings=settings,
                stage="sum",
                round_number=round_number,
                model_hash=_NO_MODEL,
            )
            for name, vector in vectors.items()
        }


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

    Example:
        >>> import numpy as np
        >>> total = sum_securely(
        ...     {"ana": np.array([0.25, -1.0]), "ben": np.array([0.5, 0.5])}, value_limit=1.0
        ... )
        >>> bool(np.allclose(total, [0.75, -0.5], atol=1e-4))
        True
    """
    names = list(vectors)
    settings = SumSettings(
        length=len(vectors[names[0]]), value_bits=value_bits, value_limit=value_limit, cohort_cap=len(names)
    )
    cohort = Cohort.assemble(names)
    sums = cohort.aggregator.handle(ProtocolStage.UPLOAD, cohort.upload(vectors, settings, round_number=0))
    return decode(cohort.clients[names[0]].open(sums[names[0]]), settings)
