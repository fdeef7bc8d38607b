"""Microsoft SEAL's file layout, for the few objects that pass between numpy and SEAL.

Flows in: coefficients. Flows out: files that SEAL loads, and the coefficients of objects that SEAL saved.
Never seen here: bytes of another party other than coefficients below q and seeds, which are put into files
whose every other byte is written here.

TenSEAL's binding of SEAL hands objects over as files only. The layout is the one of `Serialization` and of
the `save_members` of each class in SEAL 4: a 16-byte header (magic, header size, version, compression, total
size), then the members, then the coefficients. What SEAL saves is compressed by zstd; what is written for
SEAL is not. `BfvScheme` compares both with what the installed SEAL really does before it uses them.
"""

from __future__ import annotations

import os
import struct
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, final

import zstandard

from fedstyle_secure.errors import ErrorCode, SetupError
from fedstyle_secure.secure_aggregation.parameters import RING_DEGREE
from fedstyle_secure.secure_aggregation.wire import Buffer

__all__ = ["SEED_BYTES", "ScratchFile", "SealLayout", "seal_file_version", "unsupported"]

SEED_BYTES: Final = 64
_HEADER = struct.Struct("<HBBBBHQ")
_MAGIC: Final = 0xA15E
_UNCOMPRESSED, _ZSTD = 0, 2
_LARGEST_OBJECT_BYTES: Final = 2 * 8 * RING_DEGREE + 4096
_BLAKE2XB: Final = 1
_NO_PARAMETERS: Final = bytes(32)


@final
class ScratchFile:
    """A nameless file in memory that SEAL reads and writes; elsewhere a private temporary file.

    Not for two threads at once, and not for a process and its fork.
    """

    def __init__(self) -> None:
        self._descriptor, self.path, named = _open_scratch()
        weakref.finalize(self, _close_scratch, self._descriptor, self.path if named else None)

    def write(self, parts: Sequence[Buffer]) -> None:
        """Replace the content."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        size = sum(os.write(self._descriptor, part) for part in parts)
        os.ftruncate(self._descriptor, size)

    def read(self) -> bytes:
        """The whole content."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return os.read(self._descriptor, 2 * _LARGEST_OBJECT_BYTES)

    def wipe(self) -> None:
        """Overwrite the content with zeros, then drop it."""
        size = os.fstat(self._descriptor).st_size
        self.write([bytes(size)])
        os.ftruncate(self._descriptor, 0)


@final
class SealLayout:
    """Writes and reads SEAL's files for one set of parameters.

    Args:
        parms_id: SEAL's 32-byte name of the parameters.
        version: SEAL's major and minor version, as it stands in its files.
    """

    def __init__(self, *, parms_id: bytes, version: tuple[int, int]) -> None:
        self._parms_id = parms_id
        self._version = version
        self._ciphertext_members = parms_id + struct.pack("<BQQQdQ", 0, 2, RING_DEGREE, 1, 1.0, 1)

    def plaintext(self, coefficients: Buffer) -> list[Buffer]:
        """A plaintext file: coefficients of 8 bytes each, below the plain modulus."""
        return self._polynomial(_NO_PARAMETERS, coefficients)

    def secret_key(self, coefficients: Buffer) -> list[Buffer]:
        """A secret-key file: `RING_DEGREE` coefficients below q, in SEAL's transformed order."""
        return self._polynomial(self._parms_id, coefficients)

    def seeded_ciphertext(self, c0: Buffer, seed: Buffer) -> list[Buffer]:
        """A ciphertext file whose second polynomial SEAL expands from a seed."""
        members = self._ciphertext_members + self._array_head(RING_DEGREE)
        generator = self._head(_UNCOMPRESSED, 1 + SEED_BYTES) + bytes([_BLAKE2XB])
        return self._file([members, c0, generator, seed])

    def ciphertext(self, c0: Buffer, c1: Buffer) -> list[Buffer]:
        """A ciphertext file with both polynomials."""
        return self._file([self._ciphertext_members + self._array_head(2 * RING_DEGREE), c0, c1])

    def coefficients_of_plaintext(self, file: bytes) -> bytes:
        """The coefficients in a saved plaintext; leading zero coefficients are left out by SEAL."""
        return self._read_polynomial(_NO_PARAMETERS, file)

    def coefficients_of_secret_key(self, file: bytes) -> bytes:
        """The coefficients in a saved secret key."""
        return self._read_polynomial(self._parms_id, file)

    def parts_of_seeded_ciphertext(self, file: bytes) -> tuple[memoryview, bytes]:
        """The first polynomial and the seed of a saved symmetric encryption."""
        body = self._body(file)
        head = self._ciphertext_members + self._array_head(RING_DEGREE)
        generator = self._head(_UNCOMPRESSED, 1 + SEED_BYTES) + bytes([_BLAKE2XB])
        c0_end = len(head) + 8 * RING_DEGREE
        seed_start = c0_end + len(generator)
        right = body.startswith(head) and body[c0_end:seed_start] == generator
        if not right or len(body) != seed_start + SEED_BYTES:
            raise unsupported("saves symmetric encryptions in another layout")
        return memoryview(body)[len(head) : c0_end], body[seed_start:]

    def second_polynomial(self, file: bytes) -> memoryview:
        """The second polynomial of a saved ciphertext."""
        body = self._body(file)
        head = self._ciphertext_members + self._array_head(2 * RING_DEGREE)
        if not body.startswith(head) or len(body) != len(head) + 16 * RING_DEGREE:
            raise unsupported("saves ciphertexts in another layout")
        return memoryview(body)[len(head) + 8 * RING_DEGREE :]

    def _polynomial(self, parms_id: bytes, coefficients: Buffer) -> list[Buffer]:
        count = len(coefficients) // 8
        return self._file([parms_id + struct.pack("<Qd", count, 1.0) + self._array_head(count), coefficients])

    def _read_polynomial(self, parms_id: bytes, file: bytes) -> bytes:
        body = self._body(file)
        count = int.from_bytes(body[32:40], "little")
        head = parms_id + struct.pack("<Qd", count, 1.0) + self._array_head(count)
        if not body.startswith(head) or len(body) != len(head) + 8 * count or count > RING_DEGREE:
            raise unsupported("saves polynomials in another layout")
        return body[len(head) :]

    def _array_head(self, count: int) -> bytes:
        return self._head(_UNCOMPRESSED, 8 + 8 * count) + struct.pack("<Q", count)

    def _head(self, compression: int, content_size: int) -> bytes:
        return _HEADER.pack(_MAGIC, _HEADER.size, *self._version, compression, 0, _HEADER.size + content_size)

    def _file(self, parts: Sequence[Buffer]) -> list[Buffer]:
        size = sum(len(part) for part in parts)
        return [self._head(_UNCOMPRESSED, size), *parts]

    def _body(self, file: bytes) -> bytes:
        content = file[_HEADER.size :]
        compression = file[5] if len(file) >= _HEADER.size else -1
        if file[: _HEADER.size] != self._head(compression if compression >= 0 else 0, len(content)):
            raise unsupported("saves files in another layout")
        if compression == _UNCOMPRESSED:
            return content
        if compression != _ZSTD:
            raise unsupported("compresses files in another way")
        return zstandard.ZstdDecompressor().decompress(content, max_output_size=_LARGEST_OBJECT_BYTES)


def seal_file_version(file: bytes) -> tuple[int, int]:
    """SEAL's version in the header of a saved file."""
    if len(file) < _HEADER.size or file[:3] != struct.pack("<HB", _MAGIC, _HEADER.size):
        raise unsupported("saves files in another layout")
    return file[3], file[4]


def unsupported(what: str) -> SetupError:
    """The error of an installed SEAL that works otherwise than this module knows."""
    return SetupError(
        ErrorCode.CRYPTOGRAPHY_UNSUPPORTED,
        f"the installed tenseal {what}",
        fix="Install a tenseal release that constraints.txt names.",
    )


def _open_scratch() -> tuple[int, str, bool]:
    create: Any = getattr(os, "memfd_create", None)
    if create is not None:
        descriptor: int = create("fedstyle-secure")
        path = f"/proc/self/fd/{descriptor}"
        if Path(path).exists():
            return descriptor, path, False
        os.close(descriptor)
    descriptor, path = tempfile.mkstemp(prefix="fedstyle-secure-")
    return descriptor, path, True


def _close_scratch(descriptor: int, path: str | None) -> None:
    os.close(descriptor)
    if path is not None:
        with suppress(OSError):
            Path(path).unlink()
