"""A client of the secure sum, as a state machine that takes bytes and gives bytes.

Flows in: clipped updates, and messages of the aggregator, which is not trusted. Flows out: signed messages
with nothing but public keys, sealed secrets, masked ciphertexts and shares of used-up seeds in them; and
opened sums. Never leaves: private keys, seeds, the decryption key, unmasked updates.

    advertise -> share -> agree -> accept   once, and again whenever the prepared slots are used up
    upload -> confirm -> unmask -> open     for each sum, in a slot of its own

A client that falls silent at any stage is left out or recovered, as long as the threshold of the session's
quorum stays (`Session.threshold`). A client is for one thread.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NoReturn, final

from fedstyle_secure.errors import ErrorCode, ProtocolError, SetupError, UsageError
from fedstyle_secure.secure_aggregation.client_setup import ClientSetup, Membership
from fedstyle_secure.secure_aggregation.client_sum import ClientSum
from fedstyle_secure.secure_aggregation.encoding import (
    IntegerSum,
    Rounding,
    SumSettings,
    SystemRounding,
    require_encodable,
)
from fedstyle_secure.secure_aggregation.frames import SumFrame, sum_bytes
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.keys import Identity, Roster
from fedstyle_secure.secure_aggregation.packing import Layout
from fedstyle_secure.secure_aggregation.protection import Protector
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.refusals import out_of_order, replayed, unexpected, unusable
from fedstyle_secure.secure_aggregation.sum_messages import read_survivors
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate
from fedstyle_secure.secure_aggregation.wire import (
    DEFAULT_SLOTS,
    SETUP,
    Label,
    MessageKind,
    Session,
    read_from_aggregator,
    read_place,
    write_as_client,
)

__all__ = ["SumClient"]


_LAST_EPOCH: Final = 1023
"""Each set-up of a large roster draws a graph anew; this bounds the draws of one session."""


class _SetupStep(StrEnum):
    """What the next message of a set-up is for."""

    NONE = "advertise"
    SHARE = "share"
    AGREE = "agree"
    ACCEPT = "accept"


@final
class SumClient:
    """One client's end of a session of secure sums.

    Args:
        identity: the client's identity. Secret.
        roster: all clients, agreed on out of band.
        session_id: 16 to 64 bytes that name this session and no other.
        policy_hash: 32 bytes that name the policy; clients with another one are refused.
        quorum: the least number of clients in a sum, and how many of them may help the aggregator. The same
            for everybody.
        slots: how many sums one set-up prepares, 1 to 1024. The same for everybody.
        rounding: how values are rounded to integers; the unbiased `SystemRounding`, unless an evaluation that
            is thrown away must be the same in every run.

    Raises:
        SetupError: the roster does not hold this identity, or is too small for the quorum.
        UsageError: `session_id`, `policy_hash` or `slots` cannot be one.

    Guarantees:
        Against an aggregator that does what it likes and up to `quorum.colluding` clients that help it with
        all they know: of the others' updates they learn, for each stage and round, the sum over those others
        who are in it, and nothing beyond it (with a sparse graph of masks, see `SharingPlan`, except with
        probability 2^-40 for each set-up). At least `quorum.minimum` clients are in every sum that this
        client helps to unmask. The roster must be right. See `docs/explanation/secure-aggregation.md` for
        assumptions and limits.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        roster: Roster,
        session_id: bytes,
        policy_hash: bytes,
        quorum: Quorum,
        slots: int = DEFAULT_SLOTS,
        rounding: Rounding | None = None,
    ) -> None:
        if identity.client_id not in roster or roster.member(identity.client_id) != identity.public:
            raise SetupError(
                ErrorCode.ROSTER_INVALID,
                f"the roster does not hold {identity.client_id} with the key of this identity",
                fix="Use the identity file whose public key is on the roster that all clients agreed on.",
            )
        self._identity = identity
        self._session = Session(session_id, policy_hash, roster, quorum, slots)
        self._rounding = rounding or SystemRounding()
        self._last_epoch = -1
        self._setup: ClientSetup | None = None
        self._next_step = _SetupStep.NONE
        self._membership: Membership | None = None
        self._protector: Protector | None = None
        self._free_slots: set[int] = set()
        self._pending: dict[tuple[str, int], ClientSum] = {}
        self._used: set[tuple[str, int]] = set()
        self._largest_sum_bytes = 0

    def __repr__(self) -> str:
        return f"SumClient({self.client_id!r}, set-up {self._last_epoch}, secrets hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SumClient holds secrets and mask states and cannot be pickled or copied")

    @property
    def client_id(self) -> ClientId:
        """This client's name on the roster."""
        return self._identity.client_id

    def advertise(self, *, epoch: int = 0) -> bytes:
        """Stage `advertise`: begin a set-up with fresh keys.

        Args:
            epoch: number of the set-up, larger than any before; everybody must use the same.

        Returns:
            This client's public keys, signed.

        Raises:
            ProtocolError: this set-up, or a later one, has begun before.
            UsageError: a session has 1,024 set-ups.
        """
        if epoch <= self._last_epoch:
            raise out_of_order(f"set-up {epoch} of {self.client_id} has begun before; keys are made once")
        if epoch > _LAST_EPOCH:
            raise unusable(f"a session has set-ups 0 to {_LAST_EPOCH}")
        self._setup = ClientSetup(identity=self._identity, session=self._session, epoch=epoch)
        self._next_step = _SetupStep.SHARE
        self._last_epoch = epoch
        return self._setup.advertise()

    def share(self, message: bytes) -> bytes:
        """Stage `share`: check all public keys and seal each other client's share of this client's seeds.

        Args:
            message: the aggregator's answer to `advertise`.

        Returns:
            The sealed boxes, signed.

        Raises:
            ProtocolError: too few clients are there, an advertisement was not signed by the client that it
                names, or `share` was called before `advertise` or twice.
        """
        answer = self._require_step(_SetupStep.SHARE).share(message)
        self._next_step = _SetupStep.AGREE
        return answer

    def agree(self, message: bytes) -> bytes:
        """Stage `agree`: open the boxes of the others, and sign who has shared what with whom.

        Args:
            message: the aggregator's answer to `share`.

        Returns:
            The signature. The same message again gives the same bytes.

        Raises:
            ProtocolError: too few clients have shared, a box does not open, or another cohort was signed
                before.
        """
        repeated = self._next_step is _SetupStep.ACCEPT
        answer = self._require_step(_SetupStep.ACCEPT if repeated else _SetupStep.AGREE).agree(message)
        self._next_step = _SetupStep.ACCEPT
        return answer

    def accept(self, message: bytes) -> None:
        """End of a set-up: check that enough others have signed the same. Uploads now use the new keys.

        Args:
            message: the aggregator's answer to `agree`.

        Raises:
            ProtocolError: too few clients have signed the cohort that this client has signed.
        """
        self._membership = membership = self._require_step(_SetupStep.ACCEPT).accept(message)
        self._setup, self._next_step = None, _SetupStep.NONE
        self._protector = Protector(
            client_id=self.client_id,
            session=self._session,
            key=membership.key,
            group_secret=membership.group_secret,
            rounding=self._rounding,
        )
        self._free_slots = set(range(self._session.slots))

    def upload(
        self,
        update: ClippedUpdate,
        *,
        settings: SumSettings,
        slot: int,
        stage: str,
        round_number: int,
        model_hash: bytes,
    ) -> bytes:
        """Stage `upload`: encode, mask, encrypt and sign an update. Once for each stage and round.

        Args:
            update: a vector of `settings.length` finite floats.
            settings: public constants of the sum, the same for all clients.
            slot: which of the prepared slots the sum uses up, 0 to `slots` - 1; everybody must use the same.
            stage: name of the sum.
            round_number: number of the sum within the stage.
            model_hash: 32 bytes that name what the update belongs to; all clients must agree.

        Returns:
            The message for stage `upload`.

        Raises:
            ProtocolError: the set-up is not done; or this slot, or this stage and round, was used before,
                whatever came of it: two sums of one vector over different clients would show how they differ.
            UsageError: the update or a constant cannot be used. Slot, stage and round stay free.
        """
        if self._membership is None or self._protector is None:
            raise out_of_order(f"upload was called on {self.client_id}, which has no finished set-up")
        membership, protector = self._membership, self._protector
        label = Label(stage, round_number, model_hash, membership.directory.epoch, slot)
        require_encodable(update, settings)
        self._require_room(settings)
        self._use(label)
        self._pending[label.place] = ClientSum(
            label=label, settings=settings, membership=membership, protector=protector
        )
        size = sum_bytes(settings, clients=len(self._session.roster))
        self._largest_sum_bytes = max(self._largest_sum_bytes, size)
        masks = membership.masks(label, Layout.of(settings))
        return write_as_client(
            MessageKind.UPLOAD,
            list(protector.protect(update, settings=settings, label=label, masks=masks)),
            session=self._session,
            identity=self._identity,
            label=label,
        )

    def confirm(self, message: bytes) -> bytes:
        """Stage `confirm`: agree to a survivor list.

        Args:
            message: the aggregator's answer to `upload`.

        Returns:
            This client's signature under the list.

        Raises:
            ProtocolError: COHORT_INCOMPLETE if too few have survived; SURVIVORS_INCONSISTENT if this client
                or one who never finished the set-up is the difference, or another list was confirmed before;
                or the message belongs to no upload that this client waits for.
        """
        label, clients = read_survivors(message, session=self._session)
        return self._awaited(label).confirm(clients, self._identity)

    def unmask(self, message: bytes) -> bytes:
        """Stage `unmask`: check that enough clients agree, and reveal what takes the masks off the sum.

        Args:
            message: the aggregator's answer to `confirm`.

        Returns:
            For each client whose shares this client holds one share: of the seed of its own mask if it
            survived, of its mask key if it did not. Never both: the other one is forgotten.

        Raises:
            ProtocolError: too few signatures, or one is not under the list that this client has confirmed.
                Nothing is revealed then.
        """
        label = read_place(message, kind=MessageKind.CONFIRMATIONS, session=self._session)
        return self._awaited(label).unmask(message, self._identity)

    def open(self, message: bytes) -> IntegerSum:
        """Check and decrypt a sum, once.

        If anything goes wrong after decryption has begun, this client drops the keys of the set-up: it opens
        nothing more under them, and needs a new set-up. Whether a tampered ciphertext decrypts to the right
        values depends on the decryption key (BFV is not secure against chosen ciphertexts), so a client that
        answered again and again would give the key away. An earlier refusal is decided without the key and
        leaves the sum awaited.

        Args:
            message: the aggregator's answer to `unmask`.

        Returns:
            The exact sum of the survivors' encoded updates.

        Raises:
            ProtocolError: NO_DECRYPTION_KEY without a finished set-up; COHORT_INCOMPLETE or
                SURVIVORS_INCONSISTENT if it is not the sum of those who were confirmed; SUM_MISMATCH if it
                does not add up; MESSAGE_MALFORMED, MESSAGE_UNEXPECTED or MESSAGE_REPLAYED if it is not a sum
                that this client waits for.
        """
        if self._membership is None and not self._pending:
            raise ProtocolError(
                ErrorCode.NO_DECRYPTION_KEY,
                f"{self.client_id} has no decryption key (it had none yet, or had to drop it)",
                fix="Finish a set-up (advertise, share, agree, accept) first.",
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
        survivors = pending.require_survivors(frame)
        # Dropped first, so that whatever ends the decryption, the key has answered once.
        membership, protector, others = self._drop_keys(pending)
        total = pending.open(frame, survivors)
        self._membership, self._protector = membership, protector
        self._pending |= others
        return total

    def _drop_keys(
        self, opening: ClientSum
    ) -> tuple[Membership | None, Protector | None, dict[tuple[str, int], ClientSum]]:
        """Forget a set-up and the sums awaited under it; what is returned brings them back."""
        kept = self._membership, self._protector
        same = {
            place: pending
            for place, pending in self._pending.items()
            if pending.membership is opening.membership
        }
        self._pending = {place: p for place, p in self._pending.items() if place not in same}
        del same[opening.label.place]
        if self._membership is opening.membership:
            self._membership = self._protector = None
        return *kept, same

    def _require_step(self, step: _SetupStep) -> ClientSetup:
        if self._setup is None or self._next_step is not step:
            raise out_of_order(
                f"{step} was called on {self.client_id}, whose set-up waits for {self._next_step}"
            )
        return self._setup

    def _require_room(self, settings: SumSettings) -> None:
        if settings.cohort_cap < len(self._session.roster):
            raise UsageError(
                ErrorCode.SUM_SETTINGS_INVALID,
                f"the sum has room for {settings.cohort_cap} clients, "
                f"and the roster holds {len(self._session.roster)}",
                fix="Set cohort_cap to at least the number of clients.",
            )

    def _use(self, label: Label) -> None:
        if label.stage == SETUP.stage:
            raise unusable(f"the stage {SETUP.stage} is the protocol's own")
        if label.slot >= self._session.slots:
            raise UsageError(
                ErrorCode.SUM_SETTINGS_INVALID,
                f"slot {label.slot}, and the set-up has prepared {self._session.slots}",
                fix="Count slots from 0; when they are used up, set up again, under the next epoch.",
            )
        if label.place in self._used or label.slot not in self._free_slots:
            raise ProtocolError(
                ErrorCode.MASK_REUSED,
                f"{self.client_id} has already uploaded for {label} or in slot {label.slot}; a vector that "
                "is summed twice, or two vectors under one mask, would show what differs",
                fix="Send the bytes of the first upload again, or use a new slot and a new round number.",
            )
        self._used.add(label.place)
        self._free_slots.discard(label.slot)

    def _awaited(self, label: Label) -> ClientSum:
        pending = self._pending.get(label.place)
        if pending is None and label.place in self._used:
            raise replayed(f"the sum of {label} is open already, or its keys were dropped")
        if pending is None:
            raise unexpected(f"{self.client_id} has not uploaded for {label}, and is asked about its sum")
        if pending.label != label:
            raise unexpected(f"the sum of {label} belongs to another model, set-up or slot")
        return pending
