"""The aggregator of the secure sum, as a state machine that takes bytes and gives bytes.

Flows in: the clients' signed messages. Flows out: what it relays of them, and sealed sums. Never seen here: a
decryption key, a plaintext, a way to decrypt. It has no identity either; see `wire` for why its messages are
not signed.

    advertise -> share -> agree   once, and again for each set-up (`begin_setup`)
    upload -> confirm -> unmask   for each sum

`receive` takes one client's message at a time, so that the memory of a sum does not grow with its clients;
`answer` closes the stage and gives everybody's answer. An honest aggregator that runs this code refuses what
cannot be used and names whose it is. Nothing that a client relies on for secrecy depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, NoReturn, final

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.blind_sum import BlindSum
from fedstyle_secure.secure_aggregation.client_sets import require_threshold
from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.frames import UploadFrame, upload_bytes
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.keys import Roster
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.refusals import out_of_order, replayed, unexpected
from fedstyle_secure.secure_aggregation.setup_relay import SetupRelay
from fedstyle_secure.secure_aggregation.wire import (
    DEFAULT_SLOTS,
    Label,
    MessageKind,
    Session,
    client_message_kind,
    read_from_client,
)

__all__ = ["DEFAULT_LONGEST_VECTOR", "ProtocolStage", "SumAggregator"]

DEFAULT_LONGEST_VECTOR: Final = 2**24

Answers = dict[ClientId, bytes]


class ProtocolStage(StrEnum):
    """The exchanges of messages that a session consists of."""

    ADVERTISE = "advertise"
    SHARE = "share"
    AGREE = "agree"
    UPLOAD = "upload"
    CONFIRM = "confirm"
    UNMASK = "unmask"


_KINDS: Final = {
    ProtocolStage.ADVERTISE: MessageKind.ADVERTISEMENT,
    ProtocolStage.SHARE: MessageKind.SHARES,
    ProtocolStage.AGREE: MessageKind.AGREEMENT,
    ProtocolStage.UPLOAD: MessageKind.UPLOAD,
    ProtocolStage.CONFIRM: MessageKind.CONFIRMATION,
    ProtocolStage.UNMASK: MessageKind.UNMASKING,
}


@final
class SumAggregator:
    """The blind party: relays sealed boxes and adds ciphertexts.

    Args:
        roster: all clients.
        session_id: 16 to 64 bytes that name this session and no other.
        policy_hash: 32 bytes that name the policy; messages under another one are refused.
        quorum: the least number of clients in a sum, and how many may collude. The same for everybody.
        slots: how many sums one set-up prepares. The same for everybody.
        longest_vector: the largest number of values in a vector; larger uploads are refused unread.

    Raises:
        UsageError: `session_id`, `policy_hash` or `slots` cannot be one.
        SetupError: the roster is too small for the quorum.

    Guarantees:
        A message that is refused changes nothing: the sender counts as silent until it sends a right one. The
        same bytes twice are taken once.
    """

    def __init__(
        self,
        *,
        roster: Roster,
        session_id: bytes,
        policy_hash: bytes,
        quorum: Quorum,
        slots: int = DEFAULT_SLOTS,
        longest_vector: int = DEFAULT_LONGEST_VECTOR,
    ) -> None:
        self._session = Session(session_id, policy_hash, roster, quorum, slots)
        self._largest_upload_bytes = _largest_upload_bytes(longest_vector, cohort=len(roster))
        self._longest_vector = longest_vector
        self._epoch = 0
        self._setup = SetupRelay(self._session, self._epoch)
        self._stage = ProtocolStage.ADVERTISE
        self._sum: BlindSum | None = None
        self._used_places: set[tuple[str, int]] = set()
        self._used_slots: set[int] = set()

    def __repr__(self) -> str:
        return f"SumAggregator({self._session.roster!r}, {self._stage}, no key)"

    @property
    def stage(self) -> ProtocolStage:
        """The stage that messages are awaited for."""
        return self._stage

    @property
    def epoch(self) -> int:
        """Number of the set-up that messages are awaited for, or that is in force."""
        return self._epoch

    @property
    def threshold(self) -> int:
        """How many clients each stage needs."""
        return self._session.threshold

    def begin_setup(self, epoch: int) -> None:
        """Start a set-up with fresh keys, whatever stands of the one before.

        Args:
            epoch: number of the set-up, larger than any before.

        Raises:
            ProtocolError: it is not.
        """
        if epoch <= self._epoch:
            raise out_of_order(f"set-up {epoch} is not later than set-up {self._epoch}")
        self._epoch = epoch
        self._setup = SetupRelay(self._session, epoch)
        self._stage = ProtocolStage.ADVERTISE
        self._sum = None
        self._used_slots = set()

    def begin_sum(
        self, *, stage: str, round_number: int, slot: int, model_hash: bytes, settings: SumSettings
    ) -> None:
        """State which sum is next, so that uploads for anything else are refused, whoever comes first.

        Without it the first upload decides; then one client that uploads something else first can stop the
        others from being summed.

        Args:
            stage: as in `SumClient.upload`, and so are the others.
            round_number: number of the sum within the stage.
            slot: which prepared slot it uses up.
            model_hash: what the updates belong to.
            settings: public constants of the sum.

        Raises:
            ProtocolError: the set-up is not done, another sum is under way, or place or slot are used up.
        """
        if self._stage is not ProtocolStage.UPLOAD or self._sum is not None:
            raise out_of_order(f"a sum is to begin, and the aggregator is at stage {self._stage}")
        label = Label(stage, round_number, model_hash, self._epoch, slot)
        self._sum = self._new_sum(label, settings, "the next sum is stated")

    def abandon_sum(self) -> None:
        """Give up a sum that too few clients take part in or finish; another one may begin.

        Once its survivors have been told of each other, its slot, stage and round are used up.
        """
        if self._stage in (ProtocolStage.CONFIRM, ProtocolStage.UNMASK):
            self._finish_sum(self._current_sum())
        self._sum = None

    def receive(self, message: bytes) -> ClientId:
        """Take one client's message for the present stage.

        Args:
            message: untrusted bytes.

        Returns:
            Who sent it.

        Raises:
            ProtocolError: it is refused; nothing has changed.
        """
        receivers: dict[ProtocolStage, Callable[[bytes], ClientId]] = {
            ProtocolStage.ADVERTISE: self._setup.receive_advertisement,
            ProtocolStage.SHARE: self._setup.receive_shares,
            ProtocolStage.AGREE: self._setup.receive_agreement,
            ProtocolStage.UPLOAD: self._receive_upload,
            ProtocolStage.CONFIRM: lambda data: self._current_sum().receive_confirmation(data),
            ProtocolStage.UNMASK: lambda data: self._current_sum().receive_unmasking(data),
        }
        kind = client_message_kind(message)
        if kind is not None and kind is not _KINDS[self._stage]:
            raise out_of_order(f"a message of kind {kind.name.lower()} arrives at stage {self._stage}")
        return receivers[self._stage](message)

    def answer(self, stage: str) -> Answers:
        """Close a stage: what each client that is still there receives.

        Args:
            stage: the present `ProtocolStage`, so that a caller who lost count is told.

        Returns:
            Client to answer. The same object for all where the answer is the same.

        Raises:
            ProtocolError: COHORT_INCOMPLETE if too few have sent a message; the stage stays open.
                STAGE_OUT_OF_ORDER if it is not the present stage.
        """
        if stage not in set(ProtocolStage):
            raise out_of_order("the aggregator is asked for a stage that the protocol does not have")
        if stage != self._stage:
            raise out_of_order(f"the aggregator is asked for stage {stage}, and waits for {self._stage}")
        match self._stage:
            case ProtocolStage.ADVERTISE:
                answers = self._setup.answer_advertise()
                self._stage = ProtocolStage.SHARE
            case ProtocolStage.SHARE:
                answers = self._setup.answer_share()
                self._stage = ProtocolStage.AGREE
            case ProtocolStage.AGREE:
                answers = self._setup.answer_agree()
                self._stage = ProtocolStage.UPLOAD
            case ProtocolStage.UPLOAD:
                if self._sum is None:
                    require_threshold(self._session, (), "stage upload")
                answers = self._current_sum().answer_upload()
                self._stage = ProtocolStage.CONFIRM
            case ProtocolStage.CONFIRM:
                answers = self._current_sum().answer_confirm()
                self._stage = ProtocolStage.UNMASK
            case ProtocolStage.UNMASK:
                current = self._current_sum()
                answers = current.answer_unmask()
                self._finish_sum(current)
        return answers

    def handle(self, stage: str, messages: Mapping[ClientId, bytes]) -> Answers:
        """Take everybody's message of a stage, then close it.

        For transports that expect no bad messages, such as one process: a refused one ends the call. Over a
        network, call `receive` for each, count who is refused as silent, and then `answer`.

        Args:
            stage: the present `ProtocolStage`.
            messages: each client's bytes; who is missing has fallen silent.

        Returns:
            As `answer`.

        Raises:
            ProtocolError: as `answer` and `receive`; also a message that another client signed than the one
                it stands under. What came before it is taken, and may be handed in again.
        """
        if stage != self._stage:
            return self.answer(stage)  # which refuses
        for client, message in messages.items():
            sender = self.receive(message)
            if sender != client:
                raise unexpected(f"a message of {sender} stands where one of {client} belongs")
        return self.answer(stage)

    def open(self, message: bytes) -> NoReturn:
        """Refused: this party has no decryption key and cannot be given one.

        Raises:
            ProtocolError: always.
        """
        raise ProtocolError(
            ErrorCode.NO_DECRYPTION_KEY,
            f"the aggregator cannot open a message of {len(message)} bytes: it has no decryption key",
            fix="Sums are opened by the clients.",
        )

    def _receive_upload(self, data: bytes) -> ClientId:
        _, upload = read_from_client(
            data,
            kinds=[MessageKind.UPLOAD],
            session=self._session,
            label=None,
            payload_limit_bytes=self._largest_upload_bytes,
        )
        frame = UploadFrame(upload.payload, sender=upload.sender)
        current = self._sum or self._new_sum(upload.label, frame.settings, f"{upload.sender} uploads")
        current.add(upload, frame, data)
        self._sum = current
        return upload.sender

    def _new_sum(self, label: Label, settings: SumSettings, who: str) -> BlindSum:
        if label.epoch != self._epoch:
            raise unexpected(f"{who} under set-up {label.epoch}, and set-up {self._epoch} is in force")
        if label.place in self._used_places:
            raise replayed(f"{who} for {label}, which has been summed already")
        if label.slot in self._used_slots or label.slot >= self._session.slots:
            raise replayed(f"{who} in slot {label.slot}, which is used up or was never prepared")
        if settings.cohort_cap < len(self._session.roster):
            raise unexpected(f"{who} with room for fewer clients than the roster holds")
        if settings.length > self._longest_vector:
            raise unexpected(f"{who} with more values than this aggregator allows")
        return BlindSum(
            session=self._session,
            directory=self._setup.directory,
            sharers=self._setup.sharers,
            label=label,
            settings=settings,
        )

    def _current_sum(self) -> BlindSum:
        if self._sum is None:
            raise out_of_order("nobody has uploaded yet")
        return self._sum

    def _finish_sum(self, finished: BlindSum) -> None:
        self._used_places.add(finished.label.place)
        self._used_slots.add(finished.label.slot)
        self._sum = None
        self._stage = ProtocolStage.UPLOAD


def _largest_upload_bytes(longest_vector: int, *, cohort: int) -> int:
    """The most that `longest_vector` values can take, whatever their width."""
    return max(
        upload_bytes(SumSettings(length=longest_vector, value_bits=bits, value_limit=1.0, cohort_cap=cohort))
        for bits in range(8, 25)
    )
