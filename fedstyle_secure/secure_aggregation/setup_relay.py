"""The aggregator's side of a set-up: relays public keys and sealed boxes.

Flows in: the clients' signed messages. Flows out: what the others sent, each part to whom it is for. Never
seen here: what is in a box.
"""

from __future__ import annotations

from typing import final

from fedstyle_secure.secure_aggregation.client_sets import require_threshold
from fedstyle_secure.secure_aggregation.directory import Directory
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.inbox import Inbox
from fedstyle_secure.secure_aggregation.setup_messages import (
    read_advertisement,
    read_advertisements,
    read_shares,
    write_advertisements,
    write_share_delivery,
)
from fedstyle_secure.secure_aggregation.wire import Session

__all__ = ["SetupRelay"]


@final
class SetupRelay:
    """One set-up.

    Args:
        session: the session.
        epoch: number of the set-up.
    """

    def __init__(self, session: Session, epoch: int) -> None:
        self._session = session
        self._epoch = epoch
        self._advertisements: dict[ClientId, bytes] = {}
        self._boxes: dict[ClientId, dict[ClientId, bytes]] = {}
        self._advertised = Inbox("advertises")
        self._shared = Inbox("shares its seeds")
        self._agreed = Inbox("signs the cohort")
        self._signatures: dict[ClientId, bytes] = {}
        self._directory: Directory | None = None

    @property
    def directory(self) -> Directory:
        """All public keys, once `answer_advertise` has closed that stage."""
        assert self._directory is not None, "answer_advertise comes first"
        return self._directory

    @property
    def sharers(self) -> tuple[ClientId, ...]:
        """Who has shared, in roster order."""
        return tuple(client for client in self._session.roster if client in self._boxes)

    def receive_advertisement(self, message: bytes) -> ClientId:
        """Take a client's public keys."""
        sender, _ = read_advertisement(message, epoch=self._epoch, session=self._session)
        if self._advertised.is_new(sender, message):
            self._advertisements[sender] = message
        return sender

    def answer_advertise(self) -> dict[ClientId, bytes]:
        """Everybody's public keys, for everybody who is there.

        Raises:
            ProtocolError: COHORT_INCOMPLETE.
        """
        require_threshold(self._session, self._advertisements, "stage advertise")
        answer = write_advertisements(self._advertisements, epoch=self._epoch, session=self._session)
        self._directory = read_advertisements(answer, epoch=self._epoch, session=self._session)
        return dict.fromkeys(self.directory.advertised, answer)

    def receive_shares(self, message: bytes) -> ClientId:
        """Take a client's boxes."""
        sender, boxes = read_shares(message, directory=self.directory)
        if self._shared.is_new(sender, message):
            self._boxes[sender] = boxes
        return sender

    def answer_share(self) -> dict[ClientId, bytes]:
        """For everybody who has shared, the boxes of the others.

        Raises:
            ProtocolError: COHORT_INCOMPLETE.
        """
        require_threshold(self._session, self.sharers, "stage share")
        return {
            client: write_share_delivery(self._boxes, directory=self.directory, recipient=client)
            for client in self.sharers
        }

    def receive_agreement(self, message: bytes) -> ClientId:
        """Take a client's signature under the cohort."""
        sender, signature = self.directory.agreement(self.sharers).read_signed(message)
        if self._agreed.is_new(sender, message):
            self._signatures[sender] = signature
        return sender

    def answer_agree(self) -> dict[ClientId, bytes]:
        """All signatures, for everybody who has shared. The boxes are delivered and forgotten.

        Raises:
            ProtocolError: COHORT_INCOMPLETE.
        """
        answer = self.directory.agreement(self.sharers).write_signatures(self._signatures)
        self._boxes = {client: {} for client in self._boxes}
        return dict.fromkeys(self.sharers, answer)
