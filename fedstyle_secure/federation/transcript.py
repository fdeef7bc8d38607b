"""What every party saw: the record that audits work on.

Flows in: each message that passes the transport, with its sender and its recipient. Flows out: the messages
that one party saw, and byte counts. Never seen here: anything that did not travel.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

__all__ = ["PLATFORM", "SeenMessage", "Transcript"]

# No artist can be called this: names on a roster are printable.
PLATFORM = "\0platform"


@dataclass(frozen=True)
class SeenMessage:
    """One message as it travelled.

    Attributes:
        stage: stage of the protocol.
        sender: artist or `PLATFORM`.
        recipient: artist or `PLATFORM`.
        size_bytes: its length.
        sha256: hash of its bytes, hexadecimal.
        content: its bytes, when the transcript keeps them.
    """

    stage: str
    sender: str
    recipient: str
    size_bytes: int
    sha256: str
    content: bytes | None = field(repr=False)


class Transcript:
    """Append-only record of all messages of a run.

    Args:
        keep_content: keep the bytes themselves (an audit needs them) or only sizes and hashes.
    """

    def __init__(self, *, keep_content: bool = False) -> None:
        self._keep_content = keep_content
        self._messages: list[SeenMessage] = []

    def record(self, *, stage: str, sender: str, recipient: str, content: bytes) -> None:
        """Add one message."""
        self._messages.append(
            SeenMessage(
                stage=stage,
                sender=sender,
                recipient=recipient,
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                content=content if self._keep_content else None,
            )
        )

    @property
    def messages(self) -> tuple[SeenMessage, ...]:
        """All messages, in the order in which they travelled."""
        return tuple(self._messages)

    def seen_by(self, party: str) -> tuple[SeenMessage, ...]:
        """The messages that a party sent or received."""
        return tuple(m for m in self._messages if party in (m.sender, m.recipient))

    def bytes_up(self, artist: str) -> int:
        """Bytes that an artist has sent to the platform."""
        return sum(m.size_bytes for m in self._messages if m.sender == artist and m.recipient == PLATFORM)

    def bytes_down(self, artist: str) -> int:
        """Bytes that an artist has received from the platform."""
        return sum(m.size_bytes for m in self._messages if m.recipient == artist and m.sender == PLATFORM)
