"""The aggregator is blind: it holds no key, no plaintext and no way to either."""

from __future__ import annotations

import gc
import types
from collections.abc import Iterator

import numpy as np
import pytest
import tenseal.sealapi as seal
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.client_setup import ClientSetup, Membership
from fedstyle_secure.secure_aggregation.client_sum import ClientSum
from fedstyle_secure.secure_aggregation.encryption import KEY_BYTES, BfvKey, KeyHolder
from fedstyle_secure.secure_aggregation.frames import SumFrame
from fedstyle_secure.secure_aggregation.key_exchange import PairSecret, SessionKey
from fedstyle_secure.secure_aggregation.keys import Identity
from fedstyle_secure.secure_aggregation.masking import StreamMask
from fedstyle_secure.secure_aggregation.packing import TAG_WORDS, Layout
from fedstyle_secure.secure_aggregation.protection import Protector
from fedstyle_secure.secure_aggregation.slot_secrets import HeldShares, SlotSecrets
from fedstyle_secure.secure_aggregation.wire import MessageKind, read_from_aggregator
from tests.secure_sums import World, make_settings, make_vectors, make_world

FOUR = ("ana", "ben", "cem", "dia")
SETTINGS = make_settings(10, cohort_cap=4)
VECTORS = make_vectors(FOUR, 10)

SECRET_TYPES = (
    BfvKey,
    ClientSetup,
    ClientSum,
    Ed25519PrivateKey,
    HeldShares,
    Identity,
    KeyHolder,
    Membership,
    PairSecret,
    Protector,
    SessionKey,
    SlotSecrets,
    StreamMask,
    X25519PrivateKey,
    seal.Decryptor,
    seal.Encryptor,
    seal.KeyGenerator,
    seal.SecretKey,
)


def refusal(call, *arguments, error: type = ProtocolError, **keywords):
    with pytest.raises(error) as caught:
        call(*arguments, **keywords)
    return caught.value


@pytest.fixture
def four() -> World:
    """Four clients of whom three are enough, ready for uploads."""
    return make_world(FOUR, slots=4).set_up()


def reachable_from(root: object) -> Iterator[object]:
    """Everything that an object holds on to; code is left out."""
    seen, stack = set(), [root]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(
            item, type | types.ModuleType | types.FunctionType | types.CodeType
        ):
            continue
        seen.add(id(item))
        yield item
        stack.extend(gc.get_referents(item))
        stack.extend(getattr(item, "__dict__", {}).values())


def holds(root: object, secrets: list[bytes]) -> bool:
    for item in reachable_from(root):
        if isinstance(item, SECRET_TYPES):
            return True
        content = item.tobytes() if isinstance(item, np.ndarray | memoryview) else item
        if isinstance(content, bytes | bytearray) and any(secret in content for secret in secrets):
            return True
    return False


def secrets_before_agreeing(world: World) -> list[bytes]:
    """What clients know while a set-up is under way."""
    found = []
    for name, client in world.clients.items():
        part = client._setup
        found += [world.identities[name]._private_key.private_bytes_raw()]
        found += [part._session_key._private_key.private_bytes_raw(), part._group_seed]
        found += [pair.shared_secret for pair in part._pairs.values()]
    return found


def secrets_of_members(world: World, *, slots: list[int]) -> list[bytes]:
    """What clients know after it: the keys, and seeds and shares of some slots."""
    found = []
    for client in world.clients.values():
        member = client._membership
        found += [member.key.to_bytes(), member.group_secret]
        found += [seed.tobytes() for slot in slots for seed in member.own._seeds[slot]]
        found += [
            share.tobytes()
            for shares in member.held.shares.values()
            for slot in slots
            for share in shares[slot]
        ]
    return found


def test_nothing_that_the_aggregator_holds_or_received_is_or_contains_a_secret() -> None:
    """Seeds that it reconstructs, one of each client for one sum, are gone as soon as the sum is written."""
    world = make_world(FOUR, slots=3)
    deliveries = world.handle("share", world.share(world.handle("advertise", world.advertise())))
    secrets = secrets_before_agreeing(world)
    world.accept(world.handle("agree", world.agree(deliveries)))
    secrets += secrets_of_members(world, slots=[0, 2])
    seeds_of_the_sum = [
        seed.tobytes() for client in world.clients.values() for seed in client._membership.own._seeds[1]
    ]
    uploads = world.upload(VECTORS, SETTINGS)
    del uploads["ana"]
    survivors = world.handle("upload", uploads)
    confirmed = world.handle("confirm", world.confirm(survivors))
    for message in world.unmask(confirmed).values():
        world.aggregator.receive(message)
        world.received.append(message)
    assert not holds([world.aggregator, world.received], secrets + seeds_of_the_sum)
    world.open(world.aggregator.answer("unmask"))
    assert not holds([world.aggregator, world.received], secrets + seeds_of_the_sum)
    # The control: the same walk finds secrets where there are some.
    for client in world.clients.values():
        assert holds(client, [])
        assert holds(vars(client), secrets)
    assert holds([world.received, secrets[0] + b"more"], secrets)
    assert holds([np.frombuffer(secrets[-1] + b"more", np.uint8)], secrets)


def test_uploads_are_added_and_not_kept(four: World) -> None:
    s, v = make_settings(5000, cohort_cap=4), make_vectors(FOUR, 5000)
    uploads = four.upload(v, s)
    for message in uploads.values():
        four.aggregator.receive(message)
    pieces = [message[len(message) // 2 :][:100] for message in uploads.values()]
    assert holds(list(uploads.values()), pieces)
    assert not holds(four.aggregator, pieces)


def test_asking_the_aggregator_to_open_raises(four: World) -> None:
    run = four.sum(VECTORS, SETTINGS)
    for message in (*four.received, run.answers["unmask"]["ana"]):
        error = refusal(four.aggregator.open, message)
        assert error.code is ErrorCode.NO_DECRYPTION_KEY
    assert repr(four.aggregator) == f"SumAggregator({four.roster!r}, upload, no key)"


def test_every_key_sized_piece_of_what_it_received_fails_as_a_key(four: World) -> None:
    """Tries to open the sum with whatever the relayed boxes hold where the seed would be."""
    s, v = make_settings(100, cohort_cap=4), make_vectors(FOUR, 100)
    run = four.sum(v, s)
    message = read_from_aggregator(
        run.answers["unmask"]["ana"],
        kind=MessageKind.SUM,
        session=four.session,
        label=None,
        payload_limit_bytes=10**6,
    )
    layout = Layout.of(s)

    def opened_with(key: BfvKey) -> np.ndarray:
        ((_, sealed),) = SumFrame(message.payload, settings=s, clients=4).blocks()
        words = KeyHolder(layout.parameters, key).decrypt(sealed)
        return words[0, TAG_WORDS:] & np.uint64(2**layout.field_bits - 1)

    boxes = four.received[4]
    starts = range(len(boxes) - 64 - 3 * KEY_BYTES, len(boxes) - 64, KEY_BYTES)
    first = run.total.values[: len(opened_with(BfvKey.generate()))]
    for start in starts:
        wrong = BfvKey.from_bytes(boxes[start : start + KEY_BYTES])
        assert (opened_with(wrong) == first).mean() < 0.1
    assert (opened_with(four.clients["ana"]._membership.key) == first).all()
