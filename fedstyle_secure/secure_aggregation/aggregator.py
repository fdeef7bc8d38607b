"""The aggregator of the secure sum, as a state machine that takes bytes and gives bytes.

Flows in: the clients' signed messages. Flows out: what it relays of them, and sealed sums. Never seen here: a
key of any kind, a plaintext, a way to decrypt. It has no identity either; see `wire` for why its messages are
not signed.

    advertise -> share -> upload for each exchange

An honest aggregator that runs this code refuses what cannot be summed and names whose it is. Nothing that a
client relies on for secrecy depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, NoReturn, final

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.encryption import BlindAdder
from fedstyle_secure.secure_aggregation.frames import (
    UploadFrame,
    upload_bytes,
    write_sum_block,
    write_sum_head,
)
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.keys import Roster
from fedstyle_secure.secure_aggregation.packing import Layout
from fedstyle_secure.secure_aggregation.parameters import ParameterSet
from fedstyle_secure.secure_aggregation.refusals import (
    cohort_incomplete,
    malformed,
    out_of_order,
    replayed,
    unexpected,
)
from fedstyle_secure.secure_aggregation.setup_messages import (
    check_advertisement,
    read_key_shares,
    write_advertisements,
    write_key_delivery,
)
from fedstyle_secure.secure_aggregation.wire import (
    Label,
    Message,
    MessageKind,
    Session,
    read_from_client,
    write_as_aggregator,
)

__all__ = ["DEFAULT_LONGEST_VECTOR", "ProtocolStage", "SumAggregator"]

DEFAULT_LONGEST_VECTOR: Final = 2**24

Messages = Mapping[ClientId, bytes]


class ProtocolStage(StrEnum):
    """The exchanges of messages that a session consists of."""

    ADVERTISE = "advertise"
    SHARE = "share"
    UPLOAD = "upload"


@final
class SumAggregator:
    """The blind party: relays sealed keys and adds ciphertexts.

    Args:
        roster: all clients.
        session_id: 16 to 64 bytes that name this session and no other.
        policy_hash: 32 bytes that name the policy; messages under another one are refused.
        longest_vector: the largest number of values in a vector; larger uploads are refused unread.

    Raises:
        UsageError: `session_id` or `policy_hash` has the wrong size.

    Guarantees:
        A message that is refused changes nothing: the same stage can be handled again with the right
        messages.
    """

    def __init__(
        self,
        *,
        roster: Roster,
        session_id: bytes,
        policy_hash: bytes,
        longest_vector: int = DEFAULT_LONGEST_VECTOR,
    ) -> None:
        self._session = Session(session_id, policy_hash, roster)
        self._largest_upload_bytes = _largest_upload_bytes(longest_vector, cohort=len(roster))
        self._longest_vector = longest_vector
        self._next_setup_stage: ProtocolStage | None = ProtocolStage.ADVERTISE
        self._summed: set[tuple[str, int]] = set()
        self._adders: dict[ParameterSet, BlindAdder] = {}

    def __repr__(self) -> str:
        return f"SumAggregator({self._session.roster!r}, no key)"

    def handle(self, stage: str, messages: Messages) -> dict[ClientId, bytes]:
        """Answer one exchange: every client's message in, the answer to each out.

        Args:
            stage: a `ProtocolStage`.
            messages: each client's bytes. For `upload` these belong to one sum; its name and round stand in
                them.

        Returns:
            The answer to each client. The sum is one object for all.

        Raises:
            ProtocolError: COHORT_INCOMPLETE if a client is missing; STAGE_OUT_OF_ORDER; or a message is
                refused by name.
        """
        handlers: dict[str, Callable[[Messages], dict[ClientId, bytes]]] = {
            ProtocolStage.ADVERTISE: self._advertise,
            ProtocolStage.SHARE: self._share,
            ProtocolStage.UPLOAD: self._upload,
        }
        if stage not in handlers:
            raise out_of_order("the aggregator is asked for a stage that the protocol does not have")
        self._require_stage(ProtocolStage(stage))
        self._require_cohort(stage, messages)
        return handlers[stage](messages)

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

    def _advertise(self, messages: Messages) -> dict[ClientId, bytes]:
        for client in self._session.roster:
            check_advertisement(messages[client], session=self._session, sender=client)
        answer = write_advertisements(messages, session=self._session)
        self._next_setup_stage = ProtocolStage.SHARE
        return dict.fromkeys(self._session.roster, answer)

    def _share(self, messages: Messages) -> dict[ClientId, bytes]:
        shares: dict[ClientId, bytes] = {}
        for client in self._session.roster:
            shares |= read_key_shares(messages[client], session=self._session, sender=client)
        answers = {
            client: write_key_delivery(shares.get(client), session=self._session, recipient=client)
            for client in self._session.roster
        }
        self._next_setup_stage = None
        return answers

    def _upload(self, messages: Messages) -> dict[ClientId, bytes]:
        uploads = {client: self._read_upload(client, messages[client]) for client in self._session.roster}
        label = self._common_label(uploads)
        frames = [UploadFrame(upload.payload, sender=client) for client, upload in uploads.items()]
        settings = self._common_settings(frames)
        layout = Layout.of(settings)
        adder = self._adder(layout.parameters)
        payload = [write_sum_head(settings, contributed=[True] * len(frames))]
        for block in layout.blocks():
            total = adder.add(frame.next_block(block) for frame in frames)
            payload += write_sum_block(total, layout)
        answer = write_as_aggregator(MessageKind.SUM, payload, session=self._session, label=label)
        self._summed.add(label.place)
        return dict.fromkeys(self._session.roster, answer)

    def _adder(self, parameters: ParameterSet) -> BlindAdder:
        if parameters not in self._adders:
            self._adders[parameters] = BlindAdder(parameters)
        return self._adders[parameters]

    def _read_upload(self, client: ClientId, data: bytes) -> Message:
        _, message = read_from_client(
            data,
            kinds=[MessageKind.UPLOAD],
            session=self._session,
            sender=client,
            label=None,
            payload_limit_bytes=self._largest_upload_bytes,
        )
        if message.label.place in self._summed:
            raise replayed(f"{client} uploads for {message.label}, which has been summed already")
        return message

    def _common_label(self, uploads: Mapping[ClientId, Message]) -> Label:
        first, label = next((client, upload.label) for client, upload in uploads.items())
        for client, upload in uploads.items():
            if upload.label != label:
                what = "another model" if upload.label.place == label.place else f"{upload.label}"
                raise unexpected(f"{client} uploads for {what} while {first} uploads for {label}")
        return label

    def _common_settings(self, frames: list[UploadFrame]) -> SumSettings:
        settings = frames[0].settings
        for frame in frames:
            if frame.settings != settings:
                raise unexpected(f"{frame.sender} and {frames[0].sender} upload under different settings")
        if settings.cohort_cap < len(frames):
            raise malformed("the uploads have room for fewer clients than the roster holds")
        if settings.length > self._longest_vector:
            raise malformed("the uploads are longer than this aggregator allows")
        return settings

    def _require_stage(self, stage: ProtocolStage) -> None:
        expected = self._next_setup_stage or ProtocolStage.UPLOAD
        if stage is not expected:
            raise out_of_order(f"the aggregator is asked for stage {stage}, and waits for {expected}")

    def _require_cohort(self, stage: str, messages: Messages) -> None:
        missing = [client for client in self._session.roster if client not in messages]
        if missing:
            raise cohort_incomplete(missing, f"stage {stage}")
        for client in messages:
            self._session.roster.member(client)  # refuses a stranger


def _largest_upload_bytes(longest_vector: int, *, cohort: int) -> int:
    """The most that `longest_vector` values can take, whatever their width."""
    return max(
        upload_bytes(SumSettings(length=longest_vector, value_bits=bits, value_limit=1.0, cohort_cap=cohort))
        for bits in range(8, 25)
    )
