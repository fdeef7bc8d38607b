"""The aggregator of a secure average.

    python aggregator.py ROSTER PORT [PATIENCE]

Relays, adds, and sees nothing. A client that has not spoken PATIENCE seconds after the first one in a stage
is left out.
"""

from __future__ import annotations

import contextlib
import math
import queue
import secrets
import sys
import threading
import time
from multiprocessing.connection import Connection, Listener
from pathlib import Path

from agreement import POLICY_HASH, QUORUM

from fedstyle_secure.errors import ProtocolError
from fedstyle_secure.secure_aggregation import ProtocolStage, Roster, SumAggregator

LONGEST_MESSAGE = 2**28
Inbox = queue.Queue[tuple[Connection, bytes]]


def main(roster_file: str, port: str, patience: str = "30") -> None:
    """Take every stage's messages, and hand out the answers."""
    roster, session_id, inbox = Roster.load(Path(roster_file)), secrets.token_bytes(16), Inbox()
    aggregator = SumAggregator(
        roster=roster, session_id=session_id, policy_hash=POLICY_HASH, quorum=QUORUM, slots=1
    )
    threading.Thread(target=let_in, args=(int(port), session_id, inbox), daemon=True).start()
    connections: dict[str, Connection] = {}
    awaited = set(roster)
    for stage in ProtocolStage:
        spoken = collect(aggregator, inbox, awaited, float(patience))
        connections |= spoken
        answers = aggregator.answer(stage)
        for name, answer in answers.items():
            with contextlib.suppress(OSError):  # who has gone meanwhile will be missed in the next stage
                connections[name].send_bytes(answer)
        awaited = set(answers)
        print(f"{stage}: heard {len(spoken)} of {len(roster)} clients", flush=True)


def collect(
    aggregator: SumAggregator, inbox: Inbox, awaited: set[str], patience_s: float
) -> dict[str, Connection]:
    """Hear everybody who is awaited, or whoever has spoken in time."""
    spoken: dict[str, Connection] = {}
    deadline = math.inf
    while awaited - set(spoken):
        try:
            left = max(0.0, deadline - time.monotonic())
            connection, message = inbox.get(timeout=left if spoken else None)
            spoken[aggregator.receive(message)] = connection
            deadline = min(deadline, time.monotonic() + patience_s)
        except queue.Empty:
            break
        except ProtocolError as refusal:
            print(refusal, file=sys.stderr)
    return spoken


def let_in(port: int, session_id: bytes, inbox: Inbox) -> None:
    """Greet whoever comes with the name of the session."""
    with Listener(("127.0.0.1", port)) as door:
        while True:
            connection = door.accept()
            connection.send_bytes(session_id)
            threading.Thread(target=listen, args=(connection, inbox), daemon=True).start()


def listen(connection: Connection, inbox: Inbox) -> None:
    """Put a client's messages into the inbox until it hangs up."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            inbox.put((connection, connection.recv_bytes(LONGEST_MESSAGE)))


if __name__ == "__main__":
    main(*sys.argv[1:])
