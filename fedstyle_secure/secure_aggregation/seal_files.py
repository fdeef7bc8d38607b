"""Microsoft SEAL's file layout, for the few objects that pass between numpy and SEAL.

Flows in: coefficients. Flows out: files that SEAL loads, and the coefficients of objects that SEAL saved.
Never seen here: bytes of another party other than coefficients below q and seeds, which are put into files
whose every other byte is written here.

Bindings of SEAL hand objects over as files only. The layout is the one of `Serialization` and of the
`save_members` of each class in SEAL 4: a 16-byte header (magic, header size, version, compression, total
size), then the members, then the coefficients. What tenseal saves is compressed by zstd; what is written for
SEAL is not. `KeyHolder` compares both with what the installed SEAL really does before it uses them.
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

__all__ = [
    "FEWEST_POLYNOMIALS",
    "MOST_POLYNOMIALS",
    "SEED_BYTES",
    "ScratchFile",
    "SealLayout",
    "seal_file_version",
    "unsupported",
]

SEED_BYTES: Final = 64
FEWEST_POLYNOMIALS: Final = 2
MOST_POLYNOMIALS: Final = 16
"""SEAL's own limits on the polynomials of one ciphertext."""

_HEADER = struct.Struct("<HBBBBHQ")
_MAGIC: Final = 0xA15E
_UNCOMPRESSED, _ZSTD = 0, 2
_BLAKE2XB: Final = 1
_NO_PARAMETERS: Final = bytes(32)
_POLYNOMIAL_BYTES: Final = 8 * RING_DEGREE


@final
class ScratchFile:
    """A nameless file in memory that SEAL reads and writes; elsewhere a private temporary file.

    Not for two threads at once, and not for a process and its fork.
    """

    def __init__(self) -> None:
        self._descriptor, self.path, self._named = _open_scratch()
        weakref.finalize(self, _close_scratch, self._descriptor, self.path if self._named else None)

    def write(self, parts: Sequence[Buffer]) -> None:
        """Replace the content."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.ftruncate(self._descriptor, os.writev(self._descriptor, parts))

    def read(self) -> bytes:
        """The whole content."""
        return os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)

    def wipe(self) -> None:
        """Drop the content so that it cannot be read again; on a disk it is overwritten with zeros first."""
        if self._named:
            self.write([bytes(os.fstat(self._descriptor).st_size)])
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
        self._decompressor = zstandard.ZstdDecompressor()
        self._heads = {
            count: self._ciphertext_head(count, whole=count)
            for count in range(FEWEST_POLYNOMIALS, MOST_POLYNOMIALS + 1)
        }
        self._seeded_head = self._ciphertext_head(2, whole=1)
        self._generator_head = self._head(_UNCOMPRESSED, 1 + SEED_BYTES) + bytes([_BLAKE2XB])
        self._seeded_size = len(self._seeded_head + self._generator_head) + _POLYNOMIAL_BYTES + SEED_BYTES
        self._seeded_start = self._head(_UNCOMPRESSED, self._seeded_size) + self._seeded_head

    def plaintext(self, coefficients: Buffer) -> list[Buffer]:
        """A plaintext file: coefficients of 8 bytes each, below the plain modulus."""
        count = len(coefficients) // 8
        members = _NO_PARAMETERS + struct.pack("<Qd", count, 1.0)
        return self._file([members + self._array_head(count), coefficients])

    def ciphertext(self, polynomials: Buffer) -> list[Buffer]:
        """A ciphertext file of 2 to 16 polynomials: `RING_DEGREE` coefficients of 8 bytes, below q, each."""
        return self._file([self._heads[len(polynomials) // _POLYNOMIAL_BYTES], polynomials])

    def seeded_ciphertext(self, c0: Buffer, seed: Buffer) -> list[Buffer]:
        """A ciphertext file whose second polynomial SEAL expands from a seed."""
        return [self._seeded_start, c0, self._generator_head, seed]

    def parts_of_seeded_ciphertext(self, file: bytes) -> tuple[memoryview, memoryview]:
        """First polynomial and seed of a saved ciphertext that holds a seed."""
        c0_start = len(self._seeded_head)
        c0_end = c0_start + _POLYNOMIAL_BYTES
        seed_start = c0_end + len(self._generator_head)
        body = self._body(file, size=self._seeded_size)
        if body[:c0_start] != self._seeded_head or body[c0_end:seed_start] != self._generator_head:
            raise unsupported("saves seeded ciphertexts in another layout")
        return body[c0_start:c0_end], body[seed_start:]

    def polynomials(self, file: bytes, count: int) -> memoryview:
        """The coefficients of a saved ciphertext that has `count` polynomials."""
        head = self._heads[count]
        body = self._body(file, size=len(head) + count * _POLYNOMIAL_BYTES)
        if body[: len(head)] != head:
            raise unsupported("saves ciphertexts in another layout")
        return body[len(head) :]

    def _ciphertext_head(self, polynomials: int, *, whole: int) -> bytes:
        # What stands before the coefficients when `whole` of the polynomials are there and not a seed.
        members = self._parms_id + struct.pack("<BQQQdQ", 0, polynomials, RING_DEGREE, 1, 1.0, 1)
        return members + self._array_head(whole * RING_DEGREE)

    def _array_head(self, count: int) -> bytes:
        return self._head(_UNCOMPRESSED, 8 + 8 * count) + struct.pack("<Q", count)

    def _head(self, compression: int, content_size: int) -> bytes:
        return _HEADER.pack(_MAGIC, _HEADER.size, *self._version, compression, 0, _HEADER.size + content_size)

    def _file(self, parts: Sequence[Buffer]) -> list[Buffer]:
        size = sum(len(part) for part in parts)
        return [self._head(_UNCOMPRESSED, size), *parts]

    def _body(self, file: bytes, *, size: int) -> memoryview:
        head, content = file[: _HEADER.size], memoryview(file)[_HEADER.size :]
        if head == self._head(_ZSTD, len(content)):
            content = self._decompress(content, size=size)
        elif head != self._head(_UNCOMPRESSED, len(content)):
            raise unsupported("saves files in another layout")
        if len(content) != size:
            raise unsupported("saves objects of another size")
        return content

    def _decompress(self, content: memoryview, *, size: int) -> memoryview:
        try:
            return memoryview(self._decompressor.decompress(content, max_output_size=size))
        except zstandard.ZstdError:
            raise unsupported("compresses files in another way") from None


def seal_file_version(file: bytes) -> tuple[int, int]:
    """SEAL's version in the header of a saved file."""
    if len(file) < _HEADER.size or file[:3] != struct.pack("<HB", _MAGIC, _HEADER.size):
        raise unsupported("saves files in another layout")
    return file[3], file[4]


def unsupported(what: str) -> SetupError:
    """The error of an installed SEAL that works otherwise than this module knows."""
    return SetupError(
        ErrorCode.CRYPTOGRAPHY_UNSUPPORTED,
        f"the installed SEAL {what}",
        fix="Install releases of tenseal, and of seal-python if it is there, that constraints.txt names.",
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
