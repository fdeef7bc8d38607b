"""Sets of clients as they travel, and the refusal of sets that are too small.

Flows in: names. Flows out: a bit for each client of the roster, lowest first; and names from such bits. Never
seen here: anything secret.
"""

from __future__ import annotations

from collections.abc import Collection

from fedstyle_secure.secure_aggregation.framing import ClientId, Reader
from fedstyle_secure.secure_aggregation.refusals import cohort_incomplete, malformed
from fedstyle_secure.secure_aggregation.wire import Session

__all__ = ["client_set_bytes", "read_clients", "require_threshold", "write_clients"]


def client_set_bytes(session: Session) -> int:
    """Size of any set of clients."""
    return -(-len(session.roster) // 8)


def write_clients(session: Session, clients: Collection[ClientId]) -> bytes:
    """A set of clients."""
    there, bits = set(clients), 0
    for place, client in enumerate(session.roster):
        bits |= (client in there) << place
    return bits.to_bytes(client_set_bytes(session), "little")


def read_clients(reader: Reader, session: Session) -> tuple[ClientId, ...]:
    """The inverse of `write_clients`, in roster order.

    Raises:
        ProtocolError: it names somebody past the end of the roster.
    """
    bits = reader.integer(client_set_bytes(session))
    if bits >> len(session.roster):
        raise malformed("a set of clients names more than the roster holds")
    return tuple(client for place, client in enumerate(session.roster) if bits >> place & 1)


def require_threshold(session: Session, present: Collection[ClientId], what: str) -> None:
    """Refuse too few clients.

    Raises:
        ProtocolError: COHORT_INCOMPLETE, naming who is missing.
    """
    if len(present) < session.threshold:
        there = set(present)
        missing = [client for client in session.roster if client not in there]
        raise cohort_incomplete(missing, what, present=len(present), needed=session.threshold)
