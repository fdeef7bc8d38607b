"""Something that many clients sign, so that each of them knows that enough others stand by the same.

Flows in: what is signed, untrusted messages. Flows out: one client's signed message; the message that relays
all signatures; and the certainty that a threshold of clients has signed. Never seen here: anything secret.

    client -> aggregator   the statement, signed
    aggregator -> all      who has signed | their signatures, 64 bytes each, in roster order

A signature is enough for whoever knows what was signed, so the statement itself travels one way only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from fedstyle_secure.secure_aggregation.client_sets import (
    client_set_bytes,
    read_clients,
    require_threshold,
    write_clients,
)
from fedstyle_secure.secure_aggregation.framing import ClientId, Reader
from fedstyle_secure.secure_aggregation.keys import SIGNATURE_BYTES, Identity
from fedstyle_secure.secure_aggregation.refusals import survivors_inconsistent
from fedstyle_secure.secure_aggregation.wire import (
    Label,
    MessageKind,
    Session,
    read_from_aggregator,
    read_from_client,
    verify_copy,
    write_as_aggregator,
    write_as_client,
)

__all__ = ["Statement"]


@final
@dataclass(frozen=True)
class Statement:
    """What is to be signed, and by whom. Public.

    Attributes:
        kind: kind of a client's signed message.
        answer_kind: kind of the aggregator's message with all signatures.
        session: the session.
        label: the statement's place in it.
        content: what is signed, besides session and place.
        signers: who may sign.
        what: what signing it means, for errors.

    Guarantees:
        An honest client signs one statement of a kind at one place. Of two different ones at most one then
        gets the signatures of `session.threshold` clients, see `Quorum.threshold`.
    """

    kind: MessageKind
    answer_kind: MessageKind
    session: Session
    label: Label
    content: bytes
    signers: tuple[ClientId, ...]
    what: str

    def sign(self, identity: Identity) -> bytes:
        """A client's signed message."""
        return write_as_client(
            self.kind, [self.content], session=self.session, identity=identity, label=self.label
        )

    def read_signed(self, data: bytes) -> tuple[ClientId, bytes]:
        """Who signs, and the signature, on the aggregator's side.

        Raises:
            ProtocolError: somebody who may not sign, or another statement.
        """
        _, message = read_from_client(
            data,
            kinds=[self.kind],
            session=self.session,
            label=self.label,
            payload_limit_bytes=len(self.content),
        )
        if message.sender not in self.signers:
            raise survivors_inconsistent(f"{message.sender} has no part in {self.what}")
        if bytes(message.payload) != self.content:
            raise survivors_inconsistent(f"{message.sender} has signed something else, {self.what}")
        return message.sender, data[-SIGNATURE_BYTES:]

    def write_signatures(self, signatures: Mapping[ClientId, bytes]) -> bytes:
        """The aggregator's message with as many signatures as are needed.

        Raises:
            ProtocolError: COHORT_INCOMPLETE if they are fewer than the threshold.
        """
        require_threshold(self.session, signatures, self.what)
        ordered = [client for client in self.session.roster if client in signatures]
        enough = ordered[: self.session.threshold]  # each takes every client a moment to check
        return write_as_aggregator(
            self.answer_kind,
            [write_clients(self.session, enough), *(signatures[client] for client in enough)],
            session=self.session,
            label=self.label,
        )

    def require_signatures(self, data: bytes) -> None:
        """Check that enough clients have signed this very statement.

        Args:
            data: the aggregator's message, untrusted.

        Raises:
            ProtocolError: COHORT_INCOMPLETE if fewer than the threshold have; SIGNATURE_INVALID if a
                signature is not under this statement.
        """
        message = read_from_aggregator(
            data,
            kind=self.answer_kind,
            session=self.session,
            label=self.label,
            payload_limit_bytes=client_set_bytes(self.session) + SIGNATURE_BYTES * len(self.signers),
        )
        reader = Reader(message.payload)
        signers = read_clients(reader, self.session)
        require_threshold(self.session, signers, self.what)
        if not set(signers) <= set(self.signers):
            raise survivors_inconsistent(f"somebody without a part in it is said to have signed, {self.what}")
        signatures = [bytes(reader.take(SIGNATURE_BYTES)) for _ in signers]
        reader.end()
        for signer, signature in zip(signers, signatures, strict=True):
            verify_copy(
                signature,
                self.kind,
                [self.content],
                session=self.session,
                sender=signer,
                label=self.label,
            )
