"""Damaged, forged and misplaced messages, without end.

An envelope is taken apart and put together again by code of its own, so that a mistake in the package's is
not made here too.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

from fedstyle_secure.secure_aggregation.keys import Identity
from fedstyle_secure.secure_aggregation.wire import MessageKind

_HEAD = struct.Struct("<4sBBIII32s32sQ")
_SEAL_BYTES = 64
_BY_CLIENT = b"fedstyle-secure client message 1\0"
_BY_AGGREGATOR = b"fedstyle-secure aggregator message 1\0"
FIRST_AGGREGATOR_KIND = 65

Edit = Callable[["Envelope", random.Random], "Envelope"]


@dataclass(frozen=True)
class Envelope:
    """A message in parts, none of which need make sense.

    Attributes:
        size: what the head says of the payload; None for the truth.
    """

    magic: bytes
    version: int
    kind: int
    epoch: int
    slot: int
    round_number: int
    policy_hash: bytes
    model_hash: bytes
    size: int | None
    session: bytes
    stage: bytes
    sender: bytes
    recipient: bytes
    payload: bytes

    @classmethod
    def read(cls, message: bytes) -> Envelope:
        """The parts of a rightly formed message."""
        *head, size = _HEAD.unpack_from(message)
        at, names = _HEAD.size, []
        for _ in range(4):
            names.append(message[at + 1 : at + 1 + message[at]])
            at += 1 + message[at]
        assert len(message) == at + size + _SEAL_BYTES
        return cls(*head, None, *names, message[at : at + size])

    def unsealed(self) -> bytes:
        """The message without its last 64 bytes."""
        size = len(self.payload) if self.size is None else self.size
        numbers = (self.epoch, self.slot, self.round_number)
        head = (self.magic, self.version, self.kind, *numbers, self.policy_hash, self.model_hash)
        names = (self.session, self.stage, self.sender, self.recipient)
        joined = b"".join(bytes([len(name) & 255]) + name for name in names)
        return _HEAD.pack(*head, size) + joined + self.payload

    def signed(self, identity: Identity) -> bytes:
        """The message with a client's signature."""
        data = self.unsealed()
        return data + identity.sign(hashlib.sha256(_BY_CLIENT + data).digest())

    def checked(self) -> bytes:
        """The message with an aggregator's checksum."""
        data = self.unsealed()
        return data + hashlib.sha256(_BY_AGGREGATOR + data).digest() + bytes(32)


# Edits of single fields


def _one_of(field: str, *values: object) -> Edit:
    return lambda envelope, rng: replace(envelope, **{field: rng.choice(values)})


def _near(field: str) -> Edit:
    def edit(envelope: Envelope, rng: random.Random) -> Envelope:
        value = rng.choice([getattr(envelope, field) + rng.choice([-1, 1, 2, 256]), rng.getrandbits(32), 0])
        return replace(envelope, **{field: value % 2**32})

    return edit


def _changed_bytes(field: str) -> Edit:
    return lambda envelope, rng: replace(envelope, **{field: damaged(getattr(envelope, field), rng)[:255]})


def _wrong_size(envelope: Envelope, rng: random.Random) -> Envelope:
    true = len(envelope.payload)
    claims = [0, 1, true - 1, true + 1, true + _SEAL_BYTES, 2**16, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
    return replace(envelope, size=max(0, rng.choice(claims)))


def _hash(field: str) -> Edit:
    return lambda envelope, rng: replace(
        envelope,
        **{
            field: rng.choice(
                [bytes(32), b"\xff" * 32, rng.randbytes(32), _flipped(getattr(envelope, field), rng)]
            )
        },
    )


def _payload(envelope: Envelope, rng: random.Random) -> Envelope:
    return replace(envelope, payload=damaged(envelope.payload, rng))


def _payload_front(envelope: Envelope, rng: random.Random) -> Envelope:
    front = rng.choice([1, 8, 19, 20, 40])
    return replace(envelope, payload=damaged(envelope.payload[:front], rng) + envelope.payload[front:])


def wrong_settings(envelope: Envelope, rng: random.Random) -> Envelope:
    """The constants that an upload and a sum start with, each with values it cannot have."""
    constants = list(struct.unpack("<QBHd", envelope.payload[:19].ljust(19, b"\0")))
    place = rng.randrange(4)
    constants[place] = rng.choice(
        [
            [0, 1, 2**26, 2**26 + 1, 2**32, 2**63, 2**64 - 1],
            [0, 1, 7, 25, 64, 255],
            [0, 1, 2, 1025, 65535],
            [0.0, -1.0, 1e31, 1e-31, float("nan"), float("inf"), float("-inf"), 5e-324],
        ][place]
    )
    return replace(envelope, payload=struct.pack("<QBHd", *constants) + envelope.payload[19:])


def _all_ones(envelope: Envelope, _: random.Random) -> Envelope:
    return replace(envelope, payload=envelope.payload[:19] + b"\xff" * len(envelope.payload[19:]))


_NAMES = (
    b"",
    b"ana",
    b"ben",
    b"eve",
    b"zoe",
    b"\0",
    b"\xff\xfe",
    b"an\xc3",
    b"a\nb",
    b"Ana",
    "áná".encode(),
    b"a" * 128,
    b"a" * 129,
    b"a" * 255,
)
_STAGES = (
    b"",
    b"train",
    b"setup",
    b"centre",
    b"Train",
    b"-",
    b"a b",
    b"\xc3\xa9",
    b"a" * 64,
    b"a" * 65,
    b"..",
)

HEADER_EDITS: tuple[Edit, ...] = (
    _one_of("magic", b"FSSB", bytes(4), b"\xff" * 4),
    _one_of("version", 0, 2, 255),
    *[_one_of("kind", *range(256), *[int(kind) for kind in MessageKind] * 20)] * 3,
    _near("epoch"),
    _near("slot"),
    _near("round_number"),
    _hash("policy_hash"),
    _hash("model_hash"),
    *[_wrong_size] * 2,
    _changed_bytes("session"),
    _one_of("stage", *_STAGES),
    _one_of("sender", *_NAMES),
    _one_of("recipient", *_NAMES),
)


def _pieces_change_places(envelope: Envelope, rng: random.Random) -> Envelope:
    """Keys, shares or signatures in another order, or one of them twice."""
    size = rng.choice([32, 64])
    front = len(envelope.payload) % size
    pieces = [envelope.payload[at : at + size] for at in range(front, len(envelope.payload), size)]
    if pieces:
        pieces[rng.randrange(len(pieces))] = rng.choice(pieces)
    if rng.random() < 0.5:
        rng.shuffle(pieces)
    return replace(envelope, payload=envelope.payload[:front] + b"".join(pieces))


def _other_clients(envelope: Envelope, rng: random.Random) -> Envelope:
    """Another set of clients, where a payload starts or ends with one."""
    bits = bytes([rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 255])])
    if rng.random() < 0.5:
        return replace(envelope, payload=bits + envelope.payload[1:])
    return replace(envelope, payload=envelope.payload[:-1] + bits)


PAYLOAD_EDITS: tuple[Edit, ...] = (
    _payload,
    _payload_front,
    wrong_settings,
    _all_ones,
    _pieces_change_places,
    _other_clients,
    _one_of("payload", b""),
)


# Damage to bytes of any kind


def _flipped(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def damaged(data: bytes, rng: random.Random, others: Sequence[bytes] = (b"",)) -> bytes:
    """Flips, overwrites, cuts, insertions, repetitions and splices."""
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        at = rng.randrange(len(data)) if data else 0
        size = rng.choice([1, 2, 4, 8, 32, 64])
        match rng.randrange(8):
            case 0 | 1:
                data = _flipped(data, rng)
            case 2:
                data = data[:at] + rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * size + data[at + size :]
            case 3:
                data = data[:at] + rng.randbytes(size) + data[at + size :]
            case 4:
                data = data[:at] + data[at + rng.choice([size, len(data)]) :]
            case 5:
                data = data[:at] + rng.randbytes(size) + data[at:]
            case 6:
                data = data[:at] + data[at : at + size] + data[at:]
            case _:
                other = rng.choice(others)
                data = data[:at] + other[rng.randrange(len(other) + 1) :]
    return data


def hostile(
    base: bytes, others: Sequence[bytes], *, insiders: Sequence[Identity], rng: random.Random
) -> bytes:
    """A message that somebody with bad intent could send, made from an honest one.

    Args:
        base: an honest message.
        others: more of them, to splice with and to borrow fields from.
        insiders: identities of rostered clients with bad intent, who sign what they like.
        rng: decides.

    Returns:
        Damage to the whole; or an edited payload under a right seal; or fields changed or borrowed, under a
        right seal or a wrong one. By chance it may be an honest message.
    """
    way = rng.random()
    if way < 0.3:
        return damaged(base, rng, others)
    envelope = Envelope.read(base)
    if way < 0.6:
        return sealed_rightly(rng.choice(PAYLOAD_EDITS)(envelope, rng), insiders, rng)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        if rng.random() < 0.3:
            other = Envelope.read(rng.choice(others))
            name = rng.choice([field.name for field in fields(Envelope) if field.name != "size"])
            envelope = replace(envelope, **{name: getattr(other, name)})
        else:
            envelope = rng.choice(HEADER_EDITS + PAYLOAD_EDITS)(envelope, rng)
    match rng.randrange(5):
        case 0:
            return envelope.signed(rng.choice(insiders)) if envelope.sender else envelope.checked()
        case 1:
            return envelope.unsealed() + base[-_SEAL_BYTES:]
        case 2:
            return envelope.unsealed() + rng.randbytes(_SEAL_BYTES)
        case _:
            return sealed_rightly(envelope, insiders, rng)


def sealed_rightly(envelope: Envelope, insiders: Sequence[Identity], rng: random.Random) -> bytes:
    """As the sender of such a message would seal it; a client's is an insider's."""
    if envelope.kind >= FIRST_AGGREGATOR_KIND:
        return replace(envelope, sender=b"").checked()
    insider = rng.choice(insiders)
    return replace(envelope, sender=insider.client_id.encode()).signed(insider)


def bit_flips_and_cuts(message: bytes, *, front: int) -> Iterator[bytes]:
    """Every bit of the front changed, every length that the message could be cut to, something after it."""
    for position in range(min(front, len(message))):
        for bit in range(8):
            yield message[:position] + bytes([message[position] ^ 1 << bit]) + message[position + 1 :]
    for cut in {*range(min(front, len(message))), *range(max(0, len(message) - 70), len(message))}:
        yield message[:cut]
    for more in (b"\0", message, bytes(10**5)):
        yield message + more
