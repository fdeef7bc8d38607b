"""Who has sent what in one stage: the same message again is no matter, another one is refused.

Flows in: checked messages. Flows out: whether one is new. Never seen here: content.
"""

from __future__ import annotations

from typing import final

from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.keys import SIGNATURE_BYTES
from fedstyle_secure.secure_aggregation.refusals import replayed

__all__ = ["Inbox"]


@final
class Inbox:
    """The senders of one stage.

    Args:
        what: what a sender does here, for errors.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._signatures: dict[ClientId, bytes] = {}

    def is_new(self, sender: ClientId, message: bytes) -> bool:
        """Whether a message, whose signature has been checked, is the sender's first.

        Networks deliver twice; the same bytes are taken once.

        Raises:
            ProtocolError: MESSAGE_REPLAYED if the sender has sent another one before.
        """
        signature = message[-SIGNATURE_BYTES:]
        if sender not in self._signatures:
            self._signatures[sender] = signature
            return True
        if self._signatures[sender] != signature:
            raise replayed(f"{sender} {self._what} twice, differently")
        return False
