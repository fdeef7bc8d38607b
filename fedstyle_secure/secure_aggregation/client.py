"""A client of the secure sum, as a state machine that takes bytes and gives bytes.

Flows in: clipped updates, and messages of the aggregator, which is not trusted. Flows out: signed messages
with nothing but public keys, sealed keys and masked ciphertexts in them; and opened sums. Never leaves:
private keys, mask keys, the decryption key, unmasked updates.

    advertise -> share_key -> accept_key -> (upload -> open) for each exchange

All clients of the roster take part in every exchange: there is no recovery from dropouts yet, so one missing
client ends an exchange by name. The places for what comes next are `masking.add_masks` (self masks), a
confirm and an unmask stage between `upload` and `open` (survivor lists, Shamir shares), and the check words
of `packing` (linear tags).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, final

from fedstyle_secure.errors import ErrorCode, ProtocolError, SetupError, UsageError
from fedstyle_secure.secure_aggregation.encoding import (
    IntegerSum,
    Rounding,
    SumSettings,
    SystemRounding,
    require_encodable,
)
from fedstyle_secure.secure_aggregation.encryption import BfvKey
from fedstyle_secure.secure_aggregation.frames import SumFrame, sum_bytes
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.key_exchange import PairSecret, SessionKey
from fedstyle_secure.secure_aggregation.keys import Identity, Roster
from fedstyle_secure.secure_aggregation.protection import Protector
from fedstyle_secure.secure_aggregation.refusals import cohort_incomplete, out_of_order, replayed, unexpected
from fedstyle_secure.secure_aggregation.setup_messages import (
    read_advertisements,
    read_key_delivery,
    write_advertisement,
    write_key_acknowledgement,
    write_key_shares,
)
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate
from fedstyle_secure.secure_aggregation.wire import (
    Label,
    MessageKind,
    Session,
    read_from_aggregator,
    write_as_client,
)

__all__ = ["SumClient"]


class _State(StrEnum):
    NEW = "new"
    ADVERTISED = "advertised"
    SHARED = "key shared"
    READY = "ready"
    CLOSED = "closed"


@dataclass(frozen=True)
class _Pending:
    """An upload whose sum has not been opened yet."""

    label: Label
    settings: SumSettings


@final
class SumClient:
    """One client's end of a session of secure sums.

    Args:
        identity: the client's identity. Secret.
        roster: all clients, agreed on out of band.
        session_id: 16 to 64 bytes that name this session and no other.
        policy_hash: 32 bytes that name the policy; clients with another one are refused.
        rounding: how values are rounded to integers; the unbiased `SystemRounding`, unless an evaluation that
            is thrown away must be the same in every run.

    Raises:
        SetupError: the roster does not hold this identity.
        UsageError: `session_id` or `policy_hash` has the wrong size.

    Guarantees:
        Whoever sees all messages, the decryption key and the secrets of some clients learns of the other
        clients' updates their sum, and nothing beyond it, as long as at least two others are honest and the
        roster is right. With one honest client the sum is that client's update. See `docs/explanation/secure-
        aggregation.md` for assumptions and limits.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        roster: Roster,
        session_id: bytes,
        policy_hash: bytes,
        rounding: Rounding | None = None,
    ) -> None:
        if identity.client_id not in roster or roster.member(identity.client_id) != identity.public:
            raise SetupError(
                ErrorCode.ROSTER_INVALID,
                f"the roster does not hold {identity.client_id} with the key of this identity",
                fix="Use the identity file whose public key is on the roster that all clients agreed on.",
            )
        self._identity = identity
        self._session = Session(session_id, policy_hash, roster)
        self._rounding = rounding or SystemRounding()
        self._state = _State.NEW
        self._session_key = SessionKey()
        self._pairs: dict[ClientId, PairSecret] = {}
        self._own_key: BfvKey | None = None
        self._protector: Protector | None = None
        self._pending: dict[tuple[str, int], _Pending] = {}
        self._used: set[tuple[str, int]] = set()
        self._largest_sum_bytes = 0

    def __repr__(self) -> str:
        return f"SumClient({self.client_id!r}, {self._state}, secrets hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SumClient holds secrets and mask states and cannot be pickled or copied")

    @property
    def client_id(self) -> ClientId:
        """This client's name on the roster."""
        return self._identity.client_id

    def advertise(self) -> bytes:
        """Stage `advertise`: this client's session key, signed.

        Raises:
            ProtocolError: called twice.
        """
        self._require(_State.NEW, "advertise")
        self._state = _State.ADVERTISED
        return write_advertisement(
            self._session_key.public_key, session=self._session, identity=self._identity
        )

    def share_key(self, message: bytes) -> bytes:
        """Stage `share`: check all session keys; the first of the roster makes the decryption key.

        Args:
            message: the aggregator's answer to `advertise`.

        Returns:
            The decryption key, sealed for each other client (first of the roster) or a signed acknowledgement
            (the others).

        Raises:
            ProtocolError: a client is missing, or an advertisement was not signed by the client that it
                names.
        """
        self._require(_State.ADVERTISED, "share_key")
        public_keys = read_advertisements(message, session=self._session)
        if public_keys[self.client_id] != self._session_key.public_key:
            raise unexpected(
                f"the aggregator gives {self.client_id} another session key than it has advertised"
            )
        self._pairs = {
            peer: self._session_key.agree(peer, public_key)
            for peer, public_key in public_keys.items()
            if peer != self.client_id
        }
        self._state = _State.SHARED
        if self.client_id != self._session.roster.first:
            return write_key_acknowledgement(session=self._session, identity=self._identity)
        self._own_key = BfvKey.generate()
        return write_key_shares(self._own_key, self._pairs, session=self._session, identity=self._identity)

    def accept_key(self, message: bytes) -> None:
        """End of the set-up: take the decryption key.

        Args:
            message: the aggregator's answer to `share_key`.

        Raises:
            ProtocolError: the key was not sealed by the first of the roster for this client and session.
        """
        self._require(_State.SHARED, "accept_key")
        sealed_for = self._pairs.get(self._session.roster.first)
        received = read_key_delivery(message, sealed_for, session=self._session, recipient=self.client_id)
        key = received or self._own_key
        assert key is not None, "the first of the roster has made a key, the others have received one"
        self._protector = Protector(
            client_id=self.client_id,
            session=self._session,
            pairs=self._pairs,
            key=key,
            rounding=self._rounding,
        )
        self._state = _State.READY

    def upload(
        self,
        update: ClippedUpdate,
        *,
        settings: SumSettings,
        stage: str,
        round_number: int,
        model_hash: bytes,
    ) -> bytes:
        """Encode, mask, encrypt and sign an update. Once for each stage and round, whatever comes of it.

        Args:
            update: a vector of `settings.length` finite floats.
            settings: public constants of the sum, the same for all clients.
            stage: name of the sum.
            round_number: number of the sum within the stage.
            model_hash: 32 bytes that name what the update belongs to; all clients must agree.

        Returns:
            The message for stage `upload`.

        Raises:
            ProtocolError: the set-up is not done, or this stage and round were uploaded before.
            UsageError: the update or a constant cannot be used. The stage and round stay free.
        """
        self._require(_State.READY, "upload")
        assert self._protector is not None
        label = Label(stage, round_number, model_hash)
        require_encodable(update, settings)
        self._require_room(settings)
        self._use(label, settings)
        return write_as_client(
            MessageKind.UPLOAD,
            list(self._protector.protect(update, settings=settings, label=label)),
            session=self._session,
            identity=self._identity,
            label=label,
        )

    def open(self, message: bytes) -> IntegerSum:
        """Check and decrypt a sum, once.

        A refusal after decryption has begun ends the session for this client: it opens and uploads nothing
        more. Whether a tampered ciphertext decrypts to something plausible depends on the decryption key (BFV
        is not secure against chosen ciphertexts), so a client that answered again and again would give the
        key away. An earlier refusal is decided without the key and leaves the sum awaited.

        Args:
            message: the aggregator's answer to an `upload`.

        Returns:
            The exact sum of all clients' encoded updates.

        Raises:
            ProtocolError: NO_DECRYPTION_KEY before the set-up is done; COHORT_INCOMPLETE if a client is
                missing; SUM_MISMATCH if the sum does not add up; MESSAGE_MALFORMED, MESSAGE_UNEXPECTED or
                MESSAGE_REPLAYED if the message is not the sum of an exchange that this client waits for.
        """
        if self._state is _State.CLOSED:
            raise self._closed()
        if self._protector is None:
            raise ProtocolError(
                ErrorCode.NO_DECRYPTION_KEY,
                f"{self.client_id} has no decryption key yet",
                fix="Finish the set-up (advertise, share_key, accept_key) first.",
            )
        received = read_from_aggregator(
            message,
            kind=MessageKind.SUM,
            session=self._session,
            label=None,
            payload_limit_bytes=self._largest_sum_bytes,
        )
        pending = self._awaited(received.label)
        frame = SumFrame(received.payload, settings=pending.settings, clients=len(self._session.roster))
        clients = zip(self._session.roster, frame.contributed, strict=True)
        missing = [client for client, contributed in clients if not contributed]
        if missing:
            raise cohort_incomplete(missing, f"the sum of {pending.label}")
        try:
            total = self._protector.open(frame, settings=pending.settings, label=pending.label)
        except ProtocolError:
            self._state = _State.CLOSED
            raise
        del self._pending[pending.label.place]
        return total

    def _require(self, state: _State, step: str) -> None:
        if self._state is _State.CLOSED:
            raise self._closed()
        if self._state is not state:
            raise out_of_order(
                f"{step} was called on {self.client_id}, whose set-up stands at: {self._state}"
            )

    def _closed(self) -> ProtocolError:
        return ProtocolError(
            ErrorCode.STAGE_OUT_OF_ORDER,
            f"the session is over for {self.client_id}: it was given a sum that it had to refuse",
            fix="Start a new session, with new keys, and look into the aggregator.",
        )

    def _require_room(self, settings: SumSettings) -> None:
        if settings.cohort_cap < len(self._session.roster):
            raise UsageError(
                ErrorCode.SUM_SETTINGS_INVALID,
                f"the sum has room for {settings.cohort_cap} clients, "
                f"and the roster holds {len(self._session.roster)}",
                fix="Set cohort_cap to at least the number of clients.",
            )

    def _use(self, label: Label, settings: SumSettings) -> None:
        if label.place in self._used:
            raise ProtocolError(
                ErrorCode.MASK_REUSED,
                f"{self.client_id} has already uploaded for {label}; two uploads under one mask "
                "would show how the two updates differ",
                fix="Send the bytes of the first upload again, or give the exchange a new round number.",
            )
        self._used.add(label.place)
        self._pending[label.place] = _Pending(label, settings)
        size = sum_bytes(settings, clients=len(self._session.roster))
        self._largest_sum_bytes = max(self._largest_sum_bytes, size)

    def _awaited(self, label: Label) -> _Pending:
        pending = self._pending.get(label.place)
        if pending is None and label.place in self._used:
            raise replayed(f"the sum of {label} is open already")
        if pending is None:
            raise unexpected(f"{self.client_id} has not uploaded for {label}, and is given its sum")
        if pending.label != label:
            raise unexpected(f"the sum of {label} belongs to another model")
        return pending
