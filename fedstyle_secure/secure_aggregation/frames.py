"""Ciphertexts as bytes: fixed width, nothing to parse.

Flows in: encrypted updates and sealed sums, block by block. Flows out: payload bytes; and from payload bytes
of the exact size, the blocks again, each coefficient checked to be in range. Never seen here: keys,
plaintexts.

An upload's payload is the settings, then for each block all c0 coefficients and then all seeds. A sum's
payload is the settings, the contributors (a bit for each client of the roster, in order, lowest bit first),
then for each block all c0 and then all c1 coefficients. A coefficient of 40, 48, 56 or 64 bits is split into
planes: the low four bytes of all coefficients of a block, then the next two of all, and so on, little-endian;
numpy reads and writes a plane at once, and sees from the highest plane alone that nearly all coefficients are
in range.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias, final

import numpy as np
from jaxtyping import UInt64

from fedstyle_secure.errors import UsageError
from fedstyle_secure.secure_aggregation.coefficients import largest_cut
from fedstyle_secure.secure_aggregation.encoding import SETTINGS_BYTES, SumSettings
from fedstyle_secure.secure_aggregation.encryption import SealedSum
from fedstyle_secure.secure_aggregation.framing import ClientId, Reader
from fedstyle_secure.secure_aggregation.packing import Block, Layout
from fedstyle_secure.secure_aggregation.parameters import RING_DEGREE
from fedstyle_secure.secure_aggregation.refusals import malformed
from fedstyle_secure.secure_aggregation.seal_files import SEED_BYTES
from fedstyle_secure.secure_aggregation.vectors import EncryptedUpdate

__all__ = [
    "SumFrame",
    "UploadFrame",
    "sum_bytes",
    "upload_bytes",
    "write_sum_block",
    "write_sum_head",
    "write_upload_block",
    "write_upload_head",
]

# Width of a coefficient in bits -> numpy type and shift of each of its planes.
_PLANES: Final = {
    40: (("<u4", 0), ("u1", 32)),
    48: (("<u4", 0), ("<u2", 32)),
    56: (("<u4", 0), ("<u2", 32), ("u1", 48)),
    64: (("<u4", 0), ("<u4", 32)),
}

_Planes: TypeAlias = list[np.ndarray[Any, Any]]


def write_upload_head(settings: SumSettings) -> bytes:
    """The start of an upload's payload."""
    return settings.to_bytes()


def write_upload_block(encrypted: EncryptedUpdate, layout: Layout) -> list[bytes]:
    """One block of an upload's payload."""
    return [*_write_words(encrypted.c0, layout.parameters.c0_bits), encrypted.seeds.tobytes()]


def write_sum_head(settings: SumSettings, *, contributed: Sequence[bool]) -> bytes:
    """The start of a sum's payload."""
    return settings.to_bytes() + np.packbits(contributed, bitorder="little").tobytes()


def write_sum_block(total: SealedSum, layout: Layout) -> list[bytes]:
    """One block of a sum's payload."""
    parameters = layout.parameters
    return [*_write_words(total.c0, parameters.c0_bits), *_write_words(total.c1, parameters.c1_bits)]


def upload_bytes(settings: SumSettings) -> int:
    """Size of an upload's payload."""
    layout = Layout.of(settings)
    words = layout.coefficients * layout.parameters.c0_bits
    return SETTINGS_BYTES + words // 8 + layout.ciphertexts * SEED_BYTES


def sum_bytes(settings: SumSettings, *, clients: int) -> int:
    """Size of a sum's payload, for a roster of `clients`."""
    layout = Layout.of(settings)
    c0_bits, c1_bits = layout.parameters.c0_bits, layout.parameters.c1_bits
    words = layout.coefficients * c0_bits + layout.ciphertexts * RING_DEGREE * c1_bits
    return SETTINGS_BYTES + -(-clients // 8) + words // 8


@final
class UploadFrame:
    """A client's upload, read block by block without a copy of the whole.

    Args:
        payload: untrusted payload of a message whose signature has been checked.
        sender: who signed it.

    Attributes:
        sender: who signed it.
        settings: public constants that the sender used.

    Raises:
        ProtocolError: settings that cannot be, a size that does not fit them, or anywhere in the upload a
            coefficient that is out of range.
    """

    def __init__(self, payload: memoryview, *, sender: ClientId) -> None:
        self._reader = Reader(payload)
        self.sender = sender
        self.settings = _settings(self._reader)
        if len(payload) != upload_bytes(self.settings):
            raise malformed(f"the upload of {sender} has not the size that its settings ask for")
        self._layout = Layout.of(self.settings)
        self._require_in_range(Reader(payload[SETTINGS_BYTES:]))

    def next_block(self, block: Block) -> EncryptedUpdate:
        """The next block. Ask for the blocks of the layout in order, each once."""
        c0 = _read_words(
            self._reader, self._layout.parameters.c0_bits, (block.ciphertexts, block.coefficients)
        )
        seeds = np.frombuffer(self._reader.take(SEED_BYTES * block.ciphertexts), np.uint8)
        return EncryptedUpdate(c0, seeds.reshape(block.ciphertexts, SEED_BYTES))

    def _require_in_range(self, reader: Reader) -> None:
        # All of it before the first block is handed out, so that no sum is left with half an upload in it.
        parameters = self._layout.parameters
        largest = largest_cut(parameters.c0_cut_bits)
        for block in self._layout.blocks():
            planes = _read_planes(reader, parameters.c0_bits, block.ciphertexts * block.coefficients)
            if _exceed(planes, parameters.c0_bits, largest):
                raise malformed(
                    f"the upload of {self.sender} holds a coefficient that is not below the modulus"
                )
            reader.take(SEED_BYTES * block.ciphertexts)


@final
class SumFrame:
    """The aggregator's sum, read block by block.

    Args:
        payload: untrusted payload.
        settings: the settings of the client's own upload, which the sum must have.
        clients: size of the roster.

    Attributes:
        contributed: whose uploads are in the sum, in roster order.

    Raises:
        ProtocolError: other settings, or a size that does not fit them.
    """

    def __init__(self, payload: memoryview, *, settings: SumSettings, clients: int) -> None:
        self._reader = Reader(payload)
        if bytes(self._reader.take(SETTINGS_BYTES)) != settings.to_bytes():
            raise malformed("the sum has other settings than the upload")
        bits = np.unpackbits(np.frombuffer(self._reader.take(-(-clients // 8)), np.uint8), bitorder="little")
        if bits[clients:].any():
            raise malformed("the sum names contributors who are not on the roster")
        if len(payload) != sum_bytes(settings, clients=clients):
            raise malformed("the sum has not the size that its settings ask for")
        self.contributed: tuple[bool, ...] = tuple(bool(bit) for bit in bits[:clients])
        self._layout = Layout.of(settings)

    def blocks(self) -> Iterator[tuple[Block, SealedSum]]:
        """All blocks in order. Coefficients are checked when they are opened."""
        parameters = self._layout.parameters
        for block in self._layout.blocks():
            c0 = _read_words(self._reader, parameters.c0_bits, (block.ciphertexts, block.coefficients))
            c1 = _read_words(self._reader, parameters.c1_bits, (block.ciphertexts, RING_DEGREE))
            yield block, SealedSum(c0, c1)


def _settings(reader: Reader) -> SumSettings:
    try:
        return SumSettings.from_bytes(bytes(reader.take(SETTINGS_BYTES)))
    except (UsageError, struct.error):
        raise malformed("its settings are out of range") from None


def _write_words(words: UInt64[np.ndarray, "rows columns"], bits: int) -> list[bytes]:
    little_endian = np.ascontiguousarray(words, "<u8")
    return [_plane_of(little_endian, kind, shift).tobytes() for kind, shift in _PLANES[bits]]


def _read_words(reader: Reader, bits: int, shape: tuple[int, int]) -> UInt64[np.ndarray, "rows columns"]:
    words = np.zeros(shape, "<u8")
    planes = _read_planes(reader, bits, words.size)
    for plane, (kind, shift) in zip(planes, _PLANES[bits], strict=True):
        _plane_of(words, kind, shift)[:] = plane.reshape(shape)
    return words


def _plane_of(words: UInt64[np.ndarray, "rows columns"], kind: str, shift: int) -> np.ndarray[Any, Any]:
    # A view: no temporary array of the words' size, of which each would cost more than the copy.
    bits = 8 * np.dtype(kind).itemsize
    return words.view(kind)[:, shift // bits :: 64 // bits]


def _read_planes(reader: Reader, bits: int, count: int) -> _Planes:
    return [np.frombuffer(reader.take(count * np.dtype(kind).itemsize), kind) for kind, _ in _PLANES[bits]]


def _exceed(planes: _Planes, bits: int, largest: int) -> bool:
    """Whether some word is above `largest`. Goes from the highest plane down, as one compares numbers."""
    tied: np.ndarray[Any, Any] | None = None
    for plane, (_, shift) in zip(reversed(planes), reversed(_PLANES[bits]), strict=True):
        digits = plane if tied is None else plane[tied]
        digit = (largest >> shift) % (1 << 8 * plane.itemsize)
        if digits.size and digits.max() > digit:
            return True
        equal = np.flatnonzero(digits == digit)
        tied = equal if tied is None else tied[equal]
    return False
