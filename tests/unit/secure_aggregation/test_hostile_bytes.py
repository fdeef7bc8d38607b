"""Thousands of damaged, recombined and forged messages of every kind: each is refused by name.

Nothing crashes, nothing is accepted, and nothing is changed by the attempts: at the end the honest messages
still pass.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation import encryption
from fedstyle_secure.secure_aggregation.encoding import SETTINGS_BYTES, decode
from fedstyle_secure.secure_aggregation.wire import _PLAIN_CONTEXT

RANDOM_MUTATIONS = 600
NAMED = {
    ErrorCode.MESSAGE_MALFORMED,
    ErrorCode.MESSAGE_UNEXPECTED,
    ErrorCode.MESSAGE_REPLAYED,
    ErrorCode.SIGNATURE_INVALID,
    ErrorCode.COHORT_INCOMPLETE,
    ErrorCode.SUM_MISMATCH,
}


@dataclass(frozen=True)
class Target:
    """A place where a party reads bytes of another one, and the honest bytes for it."""

    honest: bytes
    feed: Callable[[bytes], object]


def targets(new_world, settings, vectors) -> tuple[dict[str, Target], Callable[[], None]]:
    """One target for each kind of message, in a session in which all of them are still awaited."""
    world, s = new_world(), settings(200)
    fresh, ready = new_world(), new_world().set_up()

    ads = world.advertise()
    found = {"advertisement": Target(ads["ben"], lambda b: world.handle("advertise", ads | {"ben": b}))}

    bundle = fresh.handle("advertise", fresh.advertise())
    found["advertisements"] = Target(bundle["ana"], fresh.clients["ana"].share_key)

    other = new_world()
    shares = other.share(other.handle("advertise", other.advertise()))
    found["key shares"] = Target(shares["ana"], lambda b: other.handle("share", shares | {"ana": b}))
    found["key acknowledgement"] = Target(shares["ben"], lambda b: other.handle("share", shares | {"ben": b}))

    delivering = new_world()
    delivered = delivering.handle(
        "share", delivering.share(delivering.handle("advertise", delivering.advertise()))
    )
    found["key delivery"] = Target(delivered["ben"], delivering.clients["ben"].accept_key)

    uploads = ready.upload(vectors(ready.clients, 200), s)
    found["upload"] = Target(
        uploads["ben"], lambda b: ready.aggregator.handle("upload", uploads | {"ben": b})
    )

    summing = new_world().set_up()
    v = vectors(summing.clients, 200)
    sums = summing.handle("upload", summing.upload(v, s))
    found["sum"] = Target(sums["ana"], summing.clients["ana"].open)

    def all_honest_messages_still_pass() -> None:
        world.handle("advertise", ads)
        fresh.clients["ana"].share_key(bundle["ana"])
        other.handle("share", shares)
        delivering.clients["ben"].accept_key(delivered["ben"])
        ready.handle("upload", uploads)
        total = decode(summing.clients["ana"].open(sums["ana"]), s)
        np.testing.assert_allclose(total, sum(v.values()), atol=3 / s.steps_per_unit)

    return found, all_honest_messages_still_pass


def random_mutations(honest: bytes, others: list[bytes], rng: random.Random) -> Iterator[bytes]:
    """Flips, overwrites, cuts, insertions, repetitions and splices, mostly near the front."""

    def place() -> int:
        return (
            min(int(rng.expovariate(1 / 80)), len(honest) - 1)
            if rng.random() < 0.6
            else rng.randrange(len(honest))
        )

    for _ in range(RANDOM_MUTATIONS):
        data = bytearray(honest)
        for _ in range(rng.choice([1, 1, 1, 2, 8])):
            at = min(place(), max(len(data) - 1, 0))
            match rng.randrange(7):
                case 0:
                    data[at : at + 1] = bytes([data[at] ^ (1 << rng.randrange(8))]) if data else b"\0"
                case 1:
                    data[at : at + 1] = rng.randbytes(1)
                case 2:
                    size = rng.choice([1, 2, 4, 8, 32])
                    data[at : at + size] = rng.choice([b"\0", b"\xff", b"\x7f"]) * size
                case 3:
                    del data[at : at + rng.choice([1, 2, 8, 64, len(data)])]
                case 4:
                    data[at:at] = rng.randbytes(rng.choice([1, 3, 64]))
                case 5:
                    data[at:at] = data[at : at + rng.choice([1, 8, 200])]
                case _:
                    other = rng.choice(others)
                    data[at:] = other[rng.randrange(len(other)) :]
        yield bytes(data)


def structured_mutations(honest: bytes, others: list[bytes], *, front: int = 130) -> Iterator[bytes]:
    """Every bit of the front, cuts, lengths that a field could claim, whole messages in the wrong place."""
    for position in range(min(len(honest), front)):
        for bit in range(8):
            yield honest[:position] + bytes([honest[position] ^ (1 << bit)]) + honest[position + 1 :]
    for cut in (*range(0, min(len(honest), 140)), len(honest) - 65, len(honest) - 64, len(honest) - 1):
        yield honest[:cut]
    for claimed in (0, 1, 2**16, 2**31, 2**32 - 1, 2**63, 2**64 - 1):
        yield honest[:74] + claimed.to_bytes(8, "little") + honest[82:]
    for extra in (b"\0", honest, bytes(10**6)):
        yield honest + extra
    yield from others
    yield from (b"", b"FSSA", bytes(len(honest)), b"\xff" * len(honest))


def with_right_checksum(mutation: bytes) -> bytes:
    """What an aggregator that lies can write: its checksum is no secret."""
    return mutation[:-64] + hashlib.sha512(_PLAIN_CONTEXT + mutation[:-64]).digest()


def refused_by_name(target: Target, mutation: bytes) -> ErrorCode | None:
    """The code of the refusal; None if the mutation was accepted."""
    try:
        target.feed(mutation)
    except ProtocolError as error:
        return error.code if error.message and error.fix else None
    return None


def test_damaged_and_misplaced_messages_of_every_kind_are_refused(new_world, settings, vectors) -> None:
    found, all_honest_messages_still_pass = targets(new_world, settings, vectors)
    everything = [target.honest for target in found.values()]
    seen: dict[str, set[ErrorCode | None]] = {}
    rng = random.Random(20)
    count = 0
    for kind, target in found.items():
        others = [message for message in everything if message != target.honest]
        mutations = [
            *random_mutations(target.honest, others, rng),
            *structured_mutations(target.honest, others),
        ]
        for mutation in mutations:
            if mutation != target.honest:
                seen.setdefault(kind, set()).add(refused_by_name(target, mutation))
                count += 1
    assert count > 7 * 1500
    assert set(seen) == set(found)
    for kind, codes in seen.items():
        assert codes <= NAMED, f"{kind} was accepted or refused without a name: {codes - NAMED}"
    all_honest_messages_still_pass()


@pytest.mark.parametrize("kind", ["advertisements", "key delivery"])
def test_what_the_aggregator_relays_cannot_be_changed_even_with_a_right_checksum(
    new_world, settings, vectors, kind: str
) -> None:
    found, all_honest_messages_still_pass = targets(new_world, settings, vectors)
    target = found[kind]
    others = [other.honest for name, other in found.items() if name != kind]
    for mutation in (
        *random_mutations(target.honest, others, random.Random(21)),
        *structured_mutations(target.honest, others),
    ):
        forged = with_right_checksum(mutation)
        if forged != target.honest:
            assert refused_by_name(target, forged) in NAMED
    all_honest_messages_still_pass()


def test_the_front_of_a_sum_cannot_be_changed_even_with_a_right_checksum(
    new_world, settings, vectors
) -> None:
    """All that a client reads before it decrypts; `test_sum_integrity` is about the rest."""
    found, all_honest_messages_still_pass = targets(new_world, settings, vectors)
    target = found["sum"]
    front = target.honest.index(settings(200).to_bytes()) + SETTINGS_BYTES + 1
    for mutation in structured_mutations(target.honest, [], front=front):
        forged = with_right_checksum(mutation)
        if forged != target.honest:
            assert refused_by_name(target, forged) in NAMED - {ErrorCode.SUM_MISMATCH}
    all_honest_messages_still_pass()


def test_seal_never_sees_bytes_that_fail_the_checks(new_world, settings, vectors, monkeypatch) -> None:
    found, _ = targets(new_world, settings, vectors)
    target = found["upload"]
    monkeypatch.setattr(
        encryption._Scheme, "load", lambda *_: pytest.fail("SEAL was given a hostile message")
    )
    for mutation in random_mutations(target.honest, [b"other bytes"], random.Random(23)):
        if mutation != target.honest:
            assert refused_by_name(target, mutation) in NAMED
