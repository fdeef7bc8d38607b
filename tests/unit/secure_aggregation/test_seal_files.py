from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tenseal.sealapi as seal

from fedstyle_secure.errors import ErrorCode, SetupError
from fedstyle_secure.secure_aggregation import seal_files
from fedstyle_secure.secure_aggregation.encryption import KEY_BYTES, BfvKey, BlindAdder, KeyHolder
from fedstyle_secure.secure_aggregation.parameters import PARAMETER_SETS
from fedstyle_secure.secure_aggregation.seal_files import ScratchFile, SealLayout, seal_file_version
from fedstyle_secure.secure_aggregation.vectors import MaskedUpdate


def saved_plaintext(text: str) -> bytes:
    scratch = ScratchFile()
    seal.Plaintext(text).save(scratch.path)
    return scratch.read()


def test_a_plaintext_that_seal_saved_is_read_right() -> None:
    file = saved_plaintext("7x^2 + 2A")
    layout = SealLayout(parms_id=bytes(32), version=seal_file_version(file))
    assert np.frombuffer(layout.coefficients_of_plaintext(file), "<u8").tolist() == [0x2A, 0, 7]


@pytest.mark.parametrize(
    "damage", [lambda f: f[:10], lambda f: f[:-1], lambda f: b"x" + f[1:], lambda f: b""]
)
def test_another_layout_is_refused_by_name(damage) -> None:
    file = saved_plaintext("1")
    layout = SealLayout(parms_id=bytes(32), version=seal_file_version(file))
    with pytest.raises(SetupError) as caught:
        layout.coefficients_of_plaintext(damage(file))
    assert caught.value.code is ErrorCode.CRYPTOGRAPHY_UNSUPPORTED


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
    sealed = BlindAdder(PARAMETER_SETS[1]).add([holder.encrypt(MaskedUpdate(words))])
    np.testing.assert_array_equal(holder.decrypt(sealed), words)


def test_a_scratch_file_that_held_the_key_is_wiped_at_once(monkeypatch) -> None:
    wiped = []
    wipe = ScratchFile.wipe
    monkeypatch.setattr(ScratchFile, "wipe", lambda scratch: (wiped.append(scratch.read()), wipe(scratch)))
    key = BfvKey.generate()
    # What SEAL saves is compressed, but keys do not get smaller by that.
    assert [len(content) > KEY_BYTES for content in wiped] == [True]
    holder = KeyHolder(PARAMETER_SETS[0], key)
    assert key.to_bytes() in wiped[1]
    assert key.to_bytes()[:64] not in holder._scheme.scratch.read()
