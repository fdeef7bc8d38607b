from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import zstandard

from fedstyle_secure.errors import ErrorCode, SetupError
from fedstyle_secure.secure_aggregation import seal_files
from fedstyle_secure.secure_aggregation.encryption import BfvKey, KeyHolder
from fedstyle_secure.secure_aggregation.parameters import PARAMETER_SETS, RING_DEGREE
from fedstyle_secure.secure_aggregation.seal_files import ScratchFile, seal_file_version
from fedstyle_secure.secure_aggregation.tenseal_arithmetic import TensealArithmetic
from fedstyle_secure.secure_aggregation.vectors import MaskedUpdate
from tests.sealed_sums import sealed_sum

TENSEAL = TensealArithmetic(PARAMETER_SETS[0])


def random_polynomials(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 2**59, (count, RING_DEGREE), np.uint64)


def saved_ciphertext() -> bytes:
    return TENSEAL.save(TENSEAL.ciphertext(random_polynomials(2)))


def recompressed(body: bytes) -> bytes:
    """A file as SEAL saves it, with another body."""
    content = zstandard.ZstdCompressor().compress(body)
    return saved_ciphertext()[:8] + struct.pack("<Q", 16 + len(content)) + content


def body_of(file: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(file[16:], max_output_size=10**6)


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: b"",
        lambda f: f[:10],
        lambda f: f[:-1],
        lambda f: b"x" + f[1:],
        lambda f: f[:5] + b"\x01" + f[6:],
        lambda f: f[:16] + b"x" * (len(f) - 16),
        lambda f: recompressed(body_of(f)[:-8]),
        lambda f: recompressed(body_of(f) + bytes(8)),
        lambda f: recompressed(b"x" + body_of(f)[1:]),
    ],
    ids=["nothing", "head", "cut", "magic", "compression", "zstd", "short", "long", "members"],
)
def test_another_layout_is_refused_by_name(damage) -> None:
    with pytest.raises(SetupError) as caught:
        TENSEAL.layout.polynomials(damage(saved_ciphertext()), 2)
    assert caught.value.code is ErrorCode.CRYPTOGRAPHY_UNSUPPORTED


def test_a_seal_that_does_not_compress_is_read_as_well() -> None:
    body = body_of(saved_ciphertext())
    plain = saved_ciphertext()[:5] + b"\0\0\0" + struct.pack("<Q", 16 + len(body)) + body
    assert TENSEAL.layout.polynomials(plain, 2) == TENSEAL.layout.polynomials(saved_ciphertext(), 2)


def test_a_ciphertext_without_a_seed_is_not_taken_for_one() -> None:
    with pytest.raises(SetupError):
        TENSEAL.layout.parts_of_seeded_ciphertext(saved_ciphertext())


@pytest.mark.parametrize("file", [b"", b"short", b"x" * 100])
def test_what_seal_did_not_save_has_no_version(file: bytes) -> None:
    with pytest.raises(SetupError) as caught:
        seal_file_version(file)
    assert caught.value.code is ErrorCode.CRYPTOGRAPHY_UNSUPPORTED


def test_a_seal_that_lays_ciphertexts_out_otherwise_is_refused_before_use(monkeypatch) -> None:
    monkeypatch.setattr(seal_files, "_BLAKE2XB", 2)
    with pytest.raises(SetupError) as caught:
        KeyHolder(PARAMETER_SETS[0], BfvKey.generate())
    assert caught.value.code is ErrorCode.CRYPTOGRAPHY_UNSUPPORTED


def test_scratch_content_is_replaced_and_wiped() -> None:
    scratch = ScratchFile()
    scratch.write([b"long content", b" in parts"])
    scratch.write([b"short"])
    assert scratch.read() == b"short"
    scratch.wipe()
    assert scratch.read() == b""


def test_without_memory_files_a_private_temporary_file_does_the_same(monkeypatch, tmp_path) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    scratch = ScratchFile()
    path = Path(scratch.path)
    assert path.parent == tmp_path
    assert path.stat().st_mode & 0o077 == 0
    del scratch
    assert not path.exists()

    words = np.arange(8188, dtype=np.uint64).reshape(2, 4094)
    holder = KeyHolder(PARAMETER_SETS[1], BfvKey.generate())
    sealed = sealed_sum([holder.encrypt(MaskedUpdate(words))], parameters=PARAMETER_SETS[1])
    np.testing.assert_array_equal(holder.decrypt(sealed), words)
