"""Sums that nobody's summand can be read from: exact, masked, encrypted, signed.

Flows in: any float vector of each client. Flows out: the exact integer sum, to the clients alone. Knows
nothing of art, of learning, or of how bytes travel: `SumClient` and `SumAggregator` take bytes and give
bytes.

Read `client.py` and `aggregator.py` first, then `protection.py`; `docs/explanation/secure-aggregation.md`
says who can learn what.
"""

from __future__ import annotations

from fedstyle_secure.secure_aggregation.aggregator import ProtocolStage, SumAggregator
from fedstyle_secure.secure_aggregation.client import SumClient
from fedstyle_secure.secure_aggregation.encoding import (
    IntegerSum,
    NearestRounding,
    SumSettings,
    SystemRounding,
    decode,
)
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.in_process import sum_securely
from fedstyle_secure.secure_aggregation.keys import Identity, PublicIdentity, Roster
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate, LocalUpdate

__all__ = [
    "ClientId",
    "ClippedUpdate",
    "Identity",
    "IntegerSum",
    "LocalUpdate",
    "NearestRounding",
    "ProtocolStage",
    "PublicIdentity",
    "Quorum",
    "Roster",
    "SumAggregator",
    "SumClient",
    "SumSettings",
    "SystemRounding",
    "decode",
    "sum_securely",
]
