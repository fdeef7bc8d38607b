"""The aggregator is blind, names whose message it refuses, and is not changed by refusals."""

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
from fedstyle_secure.secure_aggregation.aggregator import SumAggregator
from fedstyle_secure.secure_aggregation.encoding import SETTINGS_BYTES
from fedstyle_secure.secure_aggregation.encryption import KEY_BYTES, BfvKey, KeyHolder
from fedstyle_secure.secure_aggregation.frames import SumFrame
from fedstyle_secure.secure_aggregation.key_exchange import PairSecret, SessionKey
from fedstyle_secure.secure_aggregation.keys import Identity
from fedstyle_secure.secure_aggregation.masking import PairMask
from fedstyle_secure.secure_aggregation.packing import CHECK_WORDS, Layout
from fedstyle_secure.secure_aggregation.protection import Protector
from fedstyle_secure.secure_aggregation.seal_files import SEED_BYTES
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate
from fedstyle_secure.secure_aggregation.wire import (
    Label,
    MessageKind,
    read_from_aggregator,
    read_from_client,
    write_as_client,
)

SECRET_TYPES = (
    BfvKey,
    Ed25519PrivateKey,
    Identity,
    KeyHolder,
    PairMask,
    PairSecret,
    Protector,
    SessionKey,
    X25519PrivateKey,
    seal.Decryptor,
    seal.Encryptor,
    seal.KeyGenerator,
    seal.SecretKey,
)


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


def secret_bytes(world) -> list[bytes]:
    """Every secret that the clients of a session hold."""
    secrets = []
    for name, client in world.clients.items():
        secrets.append(world.identities[name]._private_key.private_bytes_raw())
        secrets.append(client._session_key._private_key.private_bytes_raw())
        secrets += [pair.shared_secret for pair in client._pairs.values()]
        secrets += [client._protector._key.to_bytes()[:64], client._protector._group_secret]
    return secrets


def holds(root: object, secrets: list[bytes]) -> bool:
    for item in reachable_from(root):
        if isinstance(item, SECRET_TYPES):
            return True
        if isinstance(item, bytes | bytearray) and any(secret in item for secret in secrets):
            return True
    return False


def test_nothing_that_the_aggregator_holds_or_received_is_or_contains_a_key(world, settings, vectors) -> None:
    world.handle("upload", world.upload(vectors(world.clients, 5000), settings(5000)))
    secrets = secret_bytes(world)
    assert not holds(world.aggregator, secrets)
    assert not holds(world.received_by_aggregator, secrets)
    # The control: the same walk finds secrets where there are some.
    for client in world.clients.values():
        assert holds(client, secrets)
        assert holds(client, [])
        assert holds([client._pairs], [])
    assert holds([world.received_by_aggregator, secrets[0] + b"more"], secrets)


def test_asking_the_aggregator_to_open_raises(world, settings, vectors) -> None:
    downloads = world.handle("upload", world.upload(vectors(world.clients, 10), settings(10)))
    for message in (*world.received_by_aggregator, downloads["ana"]):
        with pytest.raises(ProtocolError) as caught:
            world.aggregator.open(message)
        assert caught.value.code is ErrorCode.NO_DECRYPTION_KEY


def test_every_key_sized_piece_of_what_it_received_fails_as_a_key(world, settings, vectors) -> None:
    """Tries to open the sum with whatever the relayed boxes hold where the key would be."""
    s = settings(100)
    answer = world.handle("upload", world.upload(vectors(world.clients, 100), s))["ana"]
    honest = world.clients["ana"].open(answer)
    boxes = [m for m in world.received_by_aggregator if len(m) > 2 * KEY_BYTES]
    assert len(boxes) == 1
    candidates = [boxes[0][start : start + KEY_BYTES] for start in (boxes[0].rindex(b"FSSA") + 150, 400, 500)]
    message = read_from_aggregator(
        answer, kind=MessageKind.SUM, session=world.session, label=None, payload_limit_bytes=10**6
    )
    for candidate in candidates:
        reduced = np.frombuffer(candidate, "<u8") % np.uint64(2**59)
        frame = SumFrame(message.payload, settings=s, clients=3)
        ((block, sealed),) = frame.blocks()
        words = KeyHolder(Layout.of(s).parameters, BfvKey.from_bytes(reduced.tobytes())).decrypt(sealed)
        values = words[0, CHECK_WORDS:] & np.uint64(2 ** Layout.of(s).field_bits - 1)
        assert (values == honest.values[: block.slots]).mean() < 0.1


def test_missing_clients_are_named_at_every_stage(new_world, settings, vectors) -> None:
    world = new_world(("ana", "ben", "cem", "dia"))

    def refused_without(stage: str, messages: dict[str, bytes]) -> None:
        for absent in (["ben"], ["ana", "dia"]):
            rest = {name: message for name, message in messages.items() if name not in absent}
            with pytest.raises(ProtocolError) as caught:
                world.aggregator.handle(stage, rest)
            assert caught.value.code is ErrorCode.COHORT_INCOMPLETE
            assert caught.value.message.startswith(", ".join(absent) + " did not take part")

    advertisements = world.advertise()
    refused_without("advertise", advertisements)
    shares = world.share(world.handle("advertise", advertisements))
    refused_without("share", shares)
    delivered = world.handle("share", shares)
    for name, client in world.clients.items():
        client.accept_key(delivered[name])
    uploads = world.upload(vectors(world.clients, 10), settings(10, cohort_cap=4))
    refused_without("upload", uploads)
    # After all these refusals the honest messages still pass.
    assert set(world.handle("upload", uploads)) == set(world.roster)


def test_stages_come_once_and_in_order(new_world, settings, vectors) -> None:
    world = new_world()
    advertisements = world.advertise()

    def refused(stage: str, messages) -> None:
        with pytest.raises(ProtocolError) as caught:
            world.aggregator.handle(stage, messages)
        assert caught.value.code is ErrorCode.STAGE_OUT_OF_ORDER

    for stage in ("share", "upload", "open", "", "ADVERTISE"):
        refused(stage, advertisements)
    advertised = world.handle("advertise", advertisements)
    refused("advertise", advertisements)
    refused("upload", advertisements)
    world.handle("share", world.share(advertised))
    refused("share", advertisements)


def test_a_message_under_anothers_name_is_refused(world, settings, vectors) -> None:
    uploads = world.upload(vectors(world.clients, 10), settings(10))
    for change in ({"ana": uploads["ben"]}, {"ana": uploads["ben"], "ben": uploads["ana"]}):
        with pytest.raises(ProtocolError) as caught:
            world.aggregator.handle("upload", uploads | change)
        assert caught.value.code is ErrorCode.MESSAGE_UNEXPECTED
    with pytest.raises(ProtocolError) as caught:
        world.aggregator.handle("upload", uploads | {"eve": uploads["ana"]})
    assert caught.value.code is ErrorCode.MESSAGE_UNEXPECTED


def test_uploads_that_do_not_belong_together_are_refused_by_name(world, settings, vectors) -> None:
    s, v = settings(10), vectors(world.clients, 10)
    uploads = world.upload(v, s)

    def bens(**changes) -> bytes:
        arguments = {"settings": s, "stage": "train", "round_number": 7, "model_hash": b"m" * 32} | changes
        return world.clients["ben"].upload(ClippedUpdate(v["ben"]), **arguments)

    cases = [("round 7", bens()), ("centre", bens(stage="centre"))]
    for hint, message in cases:
        with pytest.raises(ProtocolError) as caught:
            world.aggregator.handle("upload", uploads | {"ben": message})
        assert caught.value.code is ErrorCode.MESSAGE_UNEXPECTED
        assert hint in caught.value.message
        assert "ben" in caught.value.message


def test_another_model_or_other_settings_are_refused_by_name(new_world, settings, vectors) -> None:
    for hint, change in (
        ("another model", {"model_hash": b"n" * 32}),
        ("different settings", {"settings": settings(10, value_limit=2.0)}),
    ):
        world = new_world().set_up()
        v = vectors(world.clients, 10)
        arguments = {"settings": settings(10), "stage": "train", "round_number": 1, "model_hash": b"m" * 32}
        uploads = {
            name: client.upload(ClippedUpdate(v[name]), **(arguments | (change if name == "ben" else {})))
            for name, client in world.clients.items()
        }
        with pytest.raises(ProtocolError) as caught:
            world.aggregator.handle("upload", uploads)
        assert caught.value.code is ErrorCode.MESSAGE_UNEXPECTED
        assert hint in caught.value.message
        assert "ben" in caught.value.message


def test_a_replayed_upload_is_refused(world, settings, vectors) -> None:
    s, v = settings(10), vectors(world.clients, 10)
    uploads = world.upload(v, s)
    world.handle("upload", uploads)
    with pytest.raises(ProtocolError) as caught:
        world.aggregator.handle("upload", uploads)
    assert caught.value.code is ErrorCode.MESSAGE_REPLAYED
    later = world.upload(v, s, round_number=2)
    with pytest.raises(ProtocolError) as caught:
        world.aggregator.handle("upload", later | {"ben": uploads["ben"]})
    assert caught.value.code is ErrorCode.MESSAGE_REPLAYED
    assert "ben" in caught.value.message


def signed_upload(world, payload: bytes, name: str = "ben") -> bytes:
    """An upload with any payload, rightly signed: what a malicious client can send."""
    return write_as_client(
        MessageKind.UPLOAD,
        [payload],
        session=world.session,
        identity=world.identities[name],
        label=Label("train", 1, b"m" * 32),
    )


def payload_of(world, message: bytes) -> bytes:
    _, read = read_from_client(
        message, kinds=[MessageKind.UPLOAD], session=world.session, label=None, payload_limit_bytes=10**8
    )
    return bytes(read.payload)


def test_a_signed_payload_that_cannot_be_one_is_refused(world, settings, vectors) -> None:
    uploads = world.upload(vectors(world.clients, 100), settings(100))
    payload = payload_of(world, uploads["ben"])
    wrong = [
        b"",
        payload[: SETTINGS_BYTES - 1],
        payload[:-1],
        payload + b"\0",
        bytes(len(payload)),
        payload[:8] + b"\xff" + payload[9:],
        payload[:SETTINGS_BYTES] + b"\xff" * (len(payload) - SETTINGS_BYTES - SEED_BYTES) + bytes(SEED_BYTES),
    ]
    for content in wrong:
        with pytest.raises(ProtocolError) as caught:
            world.aggregator.handle("upload", uploads | {"ben": signed_upload(world, content)})
        assert caught.value.code is ErrorCode.MESSAGE_MALFORMED
    world.handle("upload", uploads)


def test_vectors_longer_than_allowed_are_refused_unread(new_world, settings, vectors) -> None:
    world = new_world().set_up()
    s, v = settings(10_000), vectors(world.clients, 10_000)
    uploads = world.upload(v, s)
    strict = SumAggregator(
        roster=world.roster,
        session_id=world.session_id,
        policy_hash=world.session.policy_hash,
        longest_vector=100,
    )
    strict._next_setup_stage = None
    with pytest.raises(ProtocolError) as caught:
        strict.handle("upload", uploads)
    assert caught.value.code is ErrorCode.MESSAGE_MALFORMED
    assert "larger than any message" in caught.value.message


def test_the_sum_is_one_object_for_all_clients(world, settings, vectors) -> None:
    downloads = world.handle("upload", world.upload(vectors(world.clients, 10), settings(10)))
    assert len({id(message) for message in downloads.values()}) == 1
