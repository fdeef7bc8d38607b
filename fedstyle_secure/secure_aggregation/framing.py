"""Length-prefixed fields: the one way in which bytes are joined and taken apart.

Flows in: fields. Flows out: bytes that have exactly one reading; and fields from such bytes. Reads are
strict: a field that is too long, cut off or followed by something is an error. Never seen here: meaning.
Integers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, TypeAlias, final

from fedstyle_secure.secure_aggregation.refusals import malformed

__all__ = ["ClientId", "Reader", "join", "prefixed", "valid_client_id"]

ClientId: TypeAlias = str
"""A client's name on the roster: 1 to 128 bytes of printable UTF-8."""

LONGEST_NAME_BYTES: Final = 128
_LENGTH = struct.Struct("<I")


def valid_client_id(client_id: object) -> bool:
    """Whether something may stand on a roster as a client's name."""
    if not isinstance(client_id, str):
        return False
    try:
        size = len(client_id.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= LONGEST_NAME_BYTES and client_id.isprintable()


def prefixed(field: bytes) -> bytes:
    """A field with its length in front, four bytes."""
    return _LENGTH.pack(len(field)) + field


def join(fields: Sequence[bytes]) -> bytes:
    """Fields with their lengths in front, one after the other. Different lists give different bytes."""
    return b"".join(prefixed(field) for field in fields)


@final
class Reader:
    """Takes bytes apart from front to back.

    Args:
        data: untrusted bytes.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._rest = memoryview(data)

    def take(self, size: int) -> memoryview:
        """The next `size` bytes, not copied.

        Raises:
            ProtocolError: there are fewer.
        """
        if size > len(self._rest):
            raise malformed("it ends too early")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def integer(self, size: int) -> int:
        """The next `size` bytes as an unsigned integer."""
        return int.from_bytes(self.take(size), "little")

    def short(self, *, longest: int) -> bytes:
        """A field with a one-byte length in front.

        Raises:
            ProtocolError: it is longer than `longest` or cut off.
        """
        size = self.integer(1)
        if size > longest:
            raise malformed("a field is too long")
        return bytes(self.take(size))

    def name(self) -> ClientId:
        """A client's name with a one-byte length in front; empty stands for the aggregator."""
        try:
            name = self.short(longest=LONGEST_NAME_BYTES).decode("utf-8")
        except UnicodeDecodeError:
            raise malformed("a name is not UTF-8") from None
        if name and not valid_client_id(name):
            raise malformed("a name holds characters that cannot be printed")
        return name

    def prefixed(self, *, longest: int) -> memoryview:
        """A field with a four-byte length in front.

        Raises:
            ProtocolError: it is longer than `longest` or cut off.
        """
        size = self.integer(_LENGTH.size)
        if size > longest:
            raise malformed("a field is too long")
        return self.take(size)

    def end(self) -> None:
        """Refuse bytes that are left over.

        Raises:
            ProtocolError: something follows.
        """
        if len(self._rest):
            raise malformed("something follows its end")
