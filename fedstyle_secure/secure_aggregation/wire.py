"""The envelope that every message travels in.

Flows in: a payload and what it belongs to. Flows out: bytes; and from untrusted bytes, a payload whose sender
and place in the protocol have been checked. Never seen here: the inside of a payload, private keys other than
to sign with.

    "FSSA" | version 1 | kind 1 | epoch 4 | slot 4 | round 4 | policy hash 32 | model hash 32
    | payload length 8 | session 1+n | stage 1+n | sender 1+n | recipient 1+n | payload | seal 64

Sizes in bytes, integers little-endian, 1+n: a length byte and that many bytes. There is one way to write a
message and no optional part. Reading goes by size, structure, sender, seal, place, in this order, and only
then is the payload handed out.

Who signs. A client's message ends in its Ed25519 signature over the SHA-256 of everything before (hashed
first so that a long upload is read once). The aggregator has no identity and signs nothing: a malicious
aggregator would sign its lies too. What it says is either a client's own signed message, relayed, or a sum,
which masks and tags test. Its messages still name session, policy, stage, round and model, are refused in any
other place, and end in a plain SHA-256 and 32 zeros, which catch damage on the way and nothing else. Use TLS
to know whom you are talking to.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, TypeAlias, final

from fedstyle_secure.errors import UsageError
from fedstyle_secure.secure_aggregation.framing import ClientId, Reader, join
from fedstyle_secure.secure_aggregation.keys import SIGNATURE_BYTES, Identity, Roster
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.refusals import malformed, unexpected, unusable

__all__ = [
    "AGGREGATOR",
    "DEFAULT_SLOTS",
    "LARGEST_ENVELOPE_BYTES",
    "SETUP",
    "Label",
    "Message",
    "MessageKind",
    "Session",
    "client_message_kind",
    "read_from_aggregator",
    "read_from_client",
    "read_place",
    "verify_copy",
    "write_as_aggregator",
    "write_as_client",
]

AGGREGATOR: Final[ClientId] = ""
"""How the aggregator stands in the sender and recipient fields; as a recipient of its own messages it means
everybody."""

_MAGIC: Final = b"FSSA"
_VERSION: Final = 1
_HEAD = struct.Struct("<4sBBIII32s32sQ")
_HASH_BYTES: Final = 32
_LONGEST_SESSION, _LONGEST_STAGE = 64, 64
_MOST_SLOTS: Final = 1024
DEFAULT_SLOTS: Final = 16
_DEFAULT_QUORUM: Final = Quorum(minimum=2, colluding=0)
_LONGEST_HEADER = _HEAD.size + 4 + _LONGEST_SESSION + _LONGEST_STAGE + 2 * 128
LARGEST_ENVELOPE_BYTES: Final = _LONGEST_HEADER + SIGNATURE_BYTES
"""The most that a message is longer than its payload."""
_STAGE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_SIGNED_CONTEXT: Final = b"fedstyle-secure client message 1\0"
_PLAIN_CONTEXT: Final = b"fedstyle-secure aggregator message 1\0"

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes; a memoryview must be one of bytes."""


class MessageKind(IntEnum):
    """What a message is. From 64 upwards it comes from the aggregator."""

    ADVERTISEMENT = 1
    SHARES = 2
    UPLOAD = 3
    CONFIRMATION = 4
    UNMASKING = 5
    AGREEMENT = 6
    ADVERTISEMENTS = 65
    SHARE_DELIVERY = 66
    SURVIVORS = 67
    CONFIRMATIONS = 68
    SUM = 69
    AGREEMENTS = 70


@final
@dataclass(frozen=True)
class Label:
    """The place of a message in a session.

    Attributes:
        stage: name of the sum, lower-case letters, digits, `.`, `_` and `-`, at most 64.
        round_number: 0 to 2^32 - 1.
        model_hash: 32 bytes that name the model which the vectors belong to.
        epoch: number of the set-up whose keys are used, 0 to 2^32 - 1.
        slot: number of the sum among those that the set-up has prepared keys for, 0 to 2^32 - 1.

    Raises:
        UsageError: a part cannot be one.
    """

    stage: str
    round_number: int
    model_hash: bytes
    epoch: int = 0
    slot: int = 0

    def __post_init__(self) -> None:
        if not _STAGE.fullmatch(self.stage):
            raise unusable("a stage is 1 to 64 lower-case letters, digits, dots, dashes and underscores")
        for number in (self.round_number, self.epoch, self.slot):
            if not 0 <= number < 2**32:
                raise unusable("round, epoch and slot are numbers from 0 to 2^32 - 1")
        if len(self.model_hash) != _HASH_BYTES:
            raise unusable("a model hash has 32 bytes")

    def __str__(self) -> str:
        return f"{self.stage}, round {self.round_number}"

    @property
    def place(self) -> tuple[str, int]:
        """Stage and round: what may be summed once in a session."""
        return self.stage, self.round_number

    def to_fields(self) -> tuple[bytes, ...]:
        """The label as fields to bind keys to."""
        numbers = struct.pack("<III", self.epoch, self.slot, self.round_number)
        return self.stage.encode(), numbers, self.model_hash


SETUP: Final = Label("setup", 0, bytes(_HASH_BYTES))
"""The place of the messages of the first set-up."""


@final
@dataclass(frozen=True)
class Session:
    """What all parties of a session agree on. Public.

    Attributes:
        session_id: 16 to 64 bytes, never used before.
        policy_hash: fingerprint of the policy, 32 bytes.
        roster: the clients.
        quorum: who is enough.
        slots: how many sums a set-up prepares keys for, 1 to 1024. Each costs a client 32 bytes up and 32
            bytes down for every other client in the advertisements, and 64 bytes each way for every client
            that it shares its secrets with.

    Raises:
        UsageError: a part cannot be one.
        SetupError: the roster is too small for the quorum.
    """

    session_id: bytes
    policy_hash: bytes
    roster: Roster
    quorum: Quorum = _DEFAULT_QUORUM
    slots: int = DEFAULT_SLOTS

    def __post_init__(self) -> None:
        if not 16 <= len(self.session_id) <= _LONGEST_SESSION:
            raise unusable("a session id has 16 to 64 bytes")
        if len(self.policy_hash) != _HASH_BYTES:
            raise unusable("a policy hash has 32 bytes")
        if not 1 <= self.slots <= _MOST_SLOTS:
            raise unusable(f"a set-up prepares 1 to {_MOST_SLOTS} sums")
        self.quorum.threshold(len(self.roster))  # refuses a roster that is too small

    @property
    def threshold(self) -> int:
        """How many clients must be there, see `Quorum.threshold`."""
        return self.quorum.threshold(len(self.roster))

    def setup_label(self, epoch: int) -> Label:
        """The place of a set-up's messages."""
        return Label(SETUP.stage, 0, SETUP.model_hash, epoch)

    def binding(self, purpose: str, *fields: bytes) -> bytes:
        """Bytes that tie a derived key or a hash to this session, a purpose and more."""
        numbers = struct.pack("<III", self.quorum.minimum, self.quorum.colluding, self.slots)
        terms = (self.session_id, self.policy_hash, self.roster.fingerprint(), numbers)
        return join([b"fedstyle-secure 1", purpose.encode(), *terms, *fields])


@final
@dataclass(frozen=True)
class Message:
    """A message that has been checked.

    Attributes:
        sender: who signed it, or `AGGREGATOR`.
        recipient: whom it is for, or `AGGREGATOR`.
        label: its place.
        payload: its content, to be parsed strictly.
    """

    sender: ClientId
    recipient: ClientId
    label: Label
    payload: memoryview = field(repr=False)


def write_as_client(
    kind: MessageKind,
    payload: Sequence[Buffer],
    *,
    session: Session,
    identity: Identity,
    recipient: ClientId = AGGREGATOR,
    label: Label = SETUP,
) -> bytes:
    """Write and sign a client's message.

    Args:
        kind: what it is.
        payload: its parts, written one after the other.
        session: the session.
        identity: who signs.
        recipient: whom it is for.
        label: its place in the session.

    Returns:
        The message.
    """
    parts = [
        _header(kind, payload, session=session, sender=identity.client_id, recipient=recipient, label=label),
        *payload,
    ]
    return b"".join([*parts, identity.sign(_digest(_SIGNED_CONTEXT, parts))])


def verify_copy(
    signature: bytes,
    kind: MessageKind,
    payload: Sequence[Buffer],
    *,
    session: Session,
    sender: ClientId,
    label: Label,
) -> None:
    """Check the signature of a message whose content is known, so that only the signature need travel.

    Args:
        signature: the last 64 bytes of the message.
        kind: what it is.
        payload: its parts.
        session: the session.
        sender: who must have signed it.
        label: its place in the session.

    Raises:
        ProtocolError: SIGNATURE_INVALID.
    """
    header = _header(kind, payload, session=session, sender=sender, recipient=AGGREGATOR, label=label)
    session.roster.member(sender).verify(signature, _digest(_SIGNED_CONTEXT, [header, *payload]))


def write_as_aggregator(
    kind: MessageKind,
    payload: Sequence[Buffer],
    *,
    session: Session,
    recipient: ClientId = AGGREGATOR,
    label: Label = SETUP,
) -> bytes:
    """Write a message of the aggregator. Arguments as in `write_as_client`, without a signer."""
    parts = [
        _header(kind, payload, session=session, sender=AGGREGATOR, recipient=recipient, label=label),
        *payload,
    ]
    return b"".join([*parts, _checksum(parts)])


def read_from_client(
    data: bytes,
    *,
    kinds: Sequence[MessageKind],
    session: Session,
    sender: ClientId | None = None,
    recipient: ClientId = AGGREGATOR,
    label: Label | None = SETUP,
    payload_limit_bytes: int,
) -> tuple[MessageKind, Message]:
    """Read a message that a client signed.

    Args:
        data: untrusted bytes.
        kinds: what it may be.
        session: the session it must belong to.
        sender: who must have signed it; None: anybody on the roster.
        recipient: whom it must be for.
        label: its place; None: any (the caller checks).
        payload_limit_bytes: largest payload.

    Returns:
        Its kind and the checked message.

    Raises:
        ProtocolError: MESSAGE_MALFORMED, SIGNATURE_INVALID or MESSAGE_UNEXPECTED.
    """
    parsed = _parse(data, payload_limit_bytes)
    if parsed.kind >= MessageKind.ADVERTISEMENTS:
        raise unexpected("a message of the aggregator stands where a client's belongs")
    if not parsed.message.sender:
        raise malformed("a client's message has no sender")
    session.roster.member(parsed.message.sender).verify(
        parsed.seal, _digest(_SIGNED_CONTEXT, [memoryview(data)[:-SIGNATURE_BYTES]])
    )
    _check_place(parsed, kinds=kinds, session=session, sender=sender, recipient=recipient, label=label)
    return parsed.kind, parsed.message


def read_from_aggregator(
    data: bytes,
    *,
    kind: MessageKind,
    session: Session,
    recipient: ClientId = AGGREGATOR,
    label: Label | None = SETUP,
    payload_limit_bytes: int,
) -> Message:
    """Read a message of the aggregator. Arguments as in `read_from_client`.

    Raises:
        ProtocolError: MESSAGE_MALFORMED (a wrong checksum too) or MESSAGE_UNEXPECTED.
    """
    parsed = _parse(data, payload_limit_bytes)
    if parsed.kind < MessageKind.ADVERTISEMENTS or parsed.message.sender:
        raise unexpected("a client's message stands where the aggregator's belongs")
    if _checksum([memoryview(data)[:-SIGNATURE_BYTES]]) != parsed.seal:
        raise malformed("its checksum is wrong")
    _check_place(parsed, kinds=[kind], session=session, sender=AGGREGATOR, recipient=recipient, label=label)
    return parsed.message


def client_message_kind(data: bytes) -> MessageKind | None:
    """What a message says that it is, unchecked: to name a message that comes at the wrong time.

    Returns:
        A kind that clients send, or None.
    """
    start = len(_MAGIC) + 1
    if not isinstance(data, bytes) or len(data) <= start or data[: len(_MAGIC)] != _MAGIC:
        return None
    kind = data[start]
    return MessageKind(kind) if kind in set(MessageKind) and kind < MessageKind.ADVERTISEMENTS else None


def read_place(data: bytes, *, kind: MessageKind, session: Session) -> Label:
    """Which sum a message of the aggregator says that it belongs to, before it is read as such.

    Raises:
        ProtocolError: as `read_from_aggregator`, for messages of up to one signature for each client.
    """
    limit = (1 + SIGNATURE_BYTES) * len(session.roster)
    message = read_from_aggregator(data, kind=kind, session=session, label=None, payload_limit_bytes=limit)
    return message.label


@dataclass(frozen=True)
class _Parsed:
    kind: MessageKind
    session_id: bytes
    policy_hash: bytes
    message: Message
    seal: bytes


def _header(
    kind: MessageKind,
    payload: Sequence[Buffer],
    *,
    session: Session,
    sender: ClientId,
    recipient: ClientId,
    label: Label,
) -> bytes:
    size = sum(len(part) for part in payload)
    numbers = (label.epoch, label.slot, label.round_number)
    head = _HEAD.pack(_MAGIC, _VERSION, kind, *numbers, session.policy_hash, label.model_hash, size)
    names = (session.session_id, label.stage.encode(), sender.encode(), recipient.encode())
    return head + b"".join(bytes([len(name)]) + name for name in names)


def _digest(context: bytes, parts: Sequence[Buffer]) -> bytes:
    digest = hashlib.sha256(context)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _checksum(parts: Sequence[Buffer]) -> bytes:
    # As long as a signature, so that every message has one form.
    return _digest(_PLAIN_CONTEXT, parts).ljust(SIGNATURE_BYTES, b"\0")


def _parse(data: bytes, payload_limit_bytes: int) -> _Parsed:
    if not isinstance(data, bytes):
        raise malformed("it is not bytes")
    if len(data) > LARGEST_ENVELOPE_BYTES + payload_limit_bytes:
        raise malformed("it is larger than any message of its kind")
    reader = Reader(data)
    magic, version, kind, *numbers, policy_hash, model_hash, size = _HEAD.unpack(reader.take(_HEAD.size))
    if magic != _MAGIC:
        raise malformed("it is not a message of fedstyle-secure")
    if version != _VERSION:
        raise malformed(f"its version is {version}, and this side speaks version {_VERSION}")
    if kind not in set(MessageKind):
        raise malformed(f"its kind {kind} is unknown")
    if size > payload_limit_bytes:
        raise malformed("its payload is larger than any of its kind")
    session_id = reader.short(longest=_LONGEST_SESSION)
    stage = reader.short(longest=_LONGEST_STAGE)
    sender, recipient = reader.name(), reader.name()
    payload, seal = reader.take(size), bytes(reader.take(SIGNATURE_BYTES))
    reader.end()
    try:
        epoch, slot, round_number = numbers
        label = Label(stage.decode("ascii"), round_number, model_hash, epoch, slot)
    except (UnicodeDecodeError, UsageError):
        raise malformed("its stage is not a name") from None
    message = Message(sender, recipient, label, payload)
    return _Parsed(MessageKind(kind), session_id, policy_hash, message, seal)


def _check_place(
    parsed: _Parsed,
    *,
    kinds: Sequence[MessageKind],
    session: Session,
    sender: ClientId | None,
    recipient: ClientId,
    label: Label | None,
) -> None:
    message = parsed.message
    found = {
        "session": parsed.session_id == session.session_id,
        "policy": parsed.policy_hash == session.policy_hash,
        "kind of message": parsed.kind in kinds,
        "sender": sender is None or message.sender == sender,
        "recipient": message.recipient == recipient,
        "stage": label is None or message.label.stage == label.stage,
        "round": label is None or message.label.round_number == label.round_number,
        "set-up": label is None or message.label.epoch == label.epoch,
        "slot": label is None or message.label.slot == label.slot,
        "model": label is None or message.label.model_hash == label.model_hash,
    }
    wrong = [name for name, right in found.items() if not right]
    if wrong:
        source = message.sender or "the aggregator"
        raise unexpected(f"a message of {source} has the wrong {' and the wrong '.join(wrong)}")
