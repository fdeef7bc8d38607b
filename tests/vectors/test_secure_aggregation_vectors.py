"""The wire format, the masks and the tags do not change by accident, and are what the documentation says.

The second half reads the file with an implementation of its own, written from the module docstrings: X25519
in plain integers (RFC 7748), HKDF from HMAC (RFC 5869), counter mode from single AES blocks, packing in
Python integers. It imports nothing of the package.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    """The golden file."""
    return json.loads((HERE / "secure_aggregation.json").read_text(encoding="utf-8"))


def test_the_package_still_writes_the_golden_bytes(vectors) -> None:
    path = HERE / "generate_secure_aggregation.py"
    spec = importlib.util.spec_from_file_location("generate_secure_aggregation", path)
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.build() == vectors


# ----- an implementation of its own from here on -----


def x25519(scalar: bytes, u: bytes) -> bytes:
    """RFC 7748, section 5, the Montgomery ladder."""
    p = 2**255 - 19
    k = int.from_bytes(scalar, "little") & ~7 & (2**255 - 1) | 2**254
    x1 = int.from_bytes(u, "little") & (2**255 - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % p, b * b % p, d * a % p, c * b % p
        x3, z3 = (da + cb) ** 2 % p, x1 * (da - cb) ** 2 % p
        e = aa - bb
        x2, z2 = aa * bb % p, e * (aa + 121665 * e) % p
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


def hkdf_32(secret: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, no salt, 32 bytes."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def words(key: bytes, first: int, count: int) -> list[int]:
    """Counter mode: AES of 0, 1, 2, ... as 16-byte big-endian numbers; two little-endian words a block."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    blocks = range(first // 2, (first + count + 1) // 2)
    stream = b"".join(encryptor.update(number.to_bytes(16, "big")) for number in blocks)
    return list(struct.unpack(f"<{count}Q", stream[: 8 * count]))


def fields(*parts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def binding(v: dict[str, Any], purpose: str, *parts: bytes) -> bytes:
    members = [part for name, key in v["roster"].items() for part in (name.encode(), bytes.fromhex(key))]
    fingerprint = hashlib.sha256(fields(b"fedstyle-secure roster 1", *members)).digest()
    session, policy = bytes.fromhex(v["session_id"]), bytes.fromhex(v["policy_hash"])
    numbers = struct.pack("<III", v["quorum"]["minimum"], v["quorum"]["colluding"], v["slots"])
    return fields(b"fedstyle-secure 1", purpose.encode(), session, policy, fingerprint, numbers, *parts)


def label_fields(v: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
    label = v["label"]
    numbers = struct.pack("<III", label["epoch"], label["slot"], label["round"])
    return label["stage"].encode(), numbers, bytes.fromhex(label["model_hash"])


def expected_message(v: dict[str, Any], *, kind: int, names: list[str], payload: bytes, setup: bool) -> bytes:
    stage, numbers, model = label_fields(v)
    if setup:
        stage, numbers, model = b"setup", bytes(12), bytes(32)
    head = b"FSSA" + bytes([v["version"], kind]) + numbers + bytes.fromhex(v["policy_hash"]) + model
    head += struct.pack("<Q", len(payload))
    for part in (bytes.fromhex(v["session_id"]), stage, *(name.encode() for name in names)):
        head += bytes([len(part)]) + part
    return head + payload


def test_messages_are_laid_out_and_sealed_as_documented(vectors) -> None:
    message = bytes.fromhex(vectors["client_message"])
    body = expected_message(vectors, kind=3, names=["ana", ""], payload=b"a payload", setup=False)
    assert message[:-64] == body
    signed = hashlib.sha256(b"fedstyle-secure client message 1\0" + body).digest()
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(vectors["roster"]["ana"])).verify(message[-64:], signed)

    message = bytes.fromhex(vectors["aggregator_message"])
    body = expected_message(vectors, kind=66, names=["", "Zoë"], payload=b"another", setup=True)
    assert message == body + hashlib.sha256(
        b"fedstyle-secure aggregator message 1\0" + body
    ).digest() + bytes(32)


def test_the_ladder_is_right() -> None:
    """RFC 7748, section 5.2, first test vector."""
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    u = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    expected = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    assert x25519(scalar, u).hex() == expected


def tag(v: dict[str, Any], values: list[int], *, client: int, ciphertext: int) -> list[int]:
    """The limbs of sum a_j x_j + b modulo 2^61 - 1."""
    secret = bytes.fromhex(v["group_secret"])
    bound_to = (*label_fields(v), bytes.fromhex(v["settings"]))
    coefficients = words(hkdf_32(secret, binding(v, "tag coefficients", *bound_to)), 0, len(values))
    pad_place = 2 * (ciphertext * len(v["roster"]) + client)
    low, high = words(hkdf_32(secret, binding(v, "tag pads", *bound_to)), pad_place, 2)
    total = low + 2**64 * high + sum(a * x for a, x in zip(coefficients, values, strict=True))
    return [total % (2**61 - 1) >> shift & (2**21 - 1) for shift in (0, 21, 42)]


def test_mask_keys_are_what_the_documentation_says(vectors) -> None:
    seeds = {name: bytes.fromhex(seed) for name, seed in vectors["mask_seeds"].items()}
    public = {name: bytes.fromhex(key) for name, key in vectors["mask_keys"].items()}
    assert {name: x25519(seed, b"\x09" + bytes(31)) for name, seed in seeds.items()} == public
    shared = x25519(seeds["ana"], public["Zoë"])
    assert shared == x25519(seeds["Zoë"], public["ana"])

    bound_to = (
        bytes.fromhex(vectors["cohort"]),
        *label_fields(vectors),
        bytes.fromhex(vectors["settings"]),
    )
    pair = sorted(name.encode() for name in public)
    pair_key = hkdf_32(shared, binding(vectors, "pair mask", *bound_to, *pair))
    assert pair_key.hex() == vectors["pair_mask_key"]
    self_seed = bytes.fromhex(vectors["self_seed"])
    own_key = hkdf_32(self_seed, binding(vectors, "self mask", *bound_to, "Zoë".encode()))
    assert own_key.hex() == vectors["own_mask_key"]


def test_tags_and_masked_words_are_what_the_documentation_says(vectors) -> None:
    length, value_bits, cap, limit = struct.unpack("<QBHd", bytes.fromhex(vectors["settings"]))
    assert (length, value_bits, cap, limit) == (8200, 16, 16, 0.5)
    width, per_coefficient, plain = 20, 2, 2**40
    values = [index * 7 % 65535 for index in range(length)]
    own_key, pair_key = (bytes.fromhex(vectors[key]) for key in ("own_mask_key", "pair_mask_key"))
    client = list(vectors["roster"]).index("Zoë")
    # Of the two, the one whose name comes first as bytes adds the common mask.
    sign = 1 if "Zoë".encode() < b"ana" else -1

    tags, masked = [], []
    for ciphertext, start in enumerate(range(0, length, 4093 * per_coefficient)):
        chunk = values[start : start + 4093 * per_coefficient]
        tags.append(tag(vectors, chunk, client=client, ciphertext=ciphertext))
        slots = -(-len(chunk) // per_coefficient)
        chunk += [0] * (slots * per_coefficient - len(chunk))
        plain_words = tags[-1] + [chunk[slot] + (chunk[slots + slot] << width) for slot in range(slots)]
        own, common = (words(key, 4096 * ciphertext, len(plain_words)) for key in (own_key, pair_key))
        masked += [(w + o + sign * c) % plain for w, o, c in zip(plain_words, own, common, strict=True)]

    assert tags == vectors["tag_words"]
    golden = vectors["masked_words"]
    assert len(masked) == golden["count"]
    assert masked[:8] == golden["first"]
    assert masked[-8:] == golden["last"]
    packed = struct.pack(f"<{len(masked)}Q", *masked)
    assert hashlib.sha256(packed).hexdigest() == golden["sha256_of_8_byte_little_endian_words"]
