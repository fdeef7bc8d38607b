"""Who is who: long-lived Ed25519 identities and the roster of their public halves.

Flows in: names, identity files. Flows out: signatures, and checks of signatures. A client's private half is
in its `Identity` and nowhere else; the aggregator has a roster and no identity. Never seen here: vectors,
decryption keys.

The roster is agreed on out of band, before a session: whoever can change a client's copy of it can pose as
the others.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedstyle_secure.errors import ErrorCode, ProtocolError, SetupError
from fedstyle_secure.secure_aggregation.framing import ClientId, join, valid_client_id
from fedstyle_secure.secure_aggregation.key_files import (
    decode_key,
    encode_key,
    read_fields,
    read_text,
    unwritable,
    write_document,
    write_new_private_file,
)

__all__ = ["SIGNATURE_BYTES", "Identity", "PublicIdentity", "Roster", "spoken"]

SIGNATURE_BYTES: Final = 64
_LARGEST_ROSTER: Final = 1024
_KEY_CHARACTERS: Final = len(encode_key(bytes(32)))
_FIELD_PRIME: Final = 2**255 - 19
# All encodings, less the sign bit, of the points of edwards25519 whose order divides 8: for such a key one
# signature fits every message, or every eighth.
_SMALL_ORDER: Final = frozenset(
    {
        0,
        1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        _FIELD_PRIME - 1,
        _FIELD_PRIME,
        _FIELD_PRIME + 1,
    }
)
# Whoever writes a roster chooses keys of its own, and could look for two rosters that read the same: 160 bits
# leave 2^80 attempts.
_SPOKEN_BYTES: Final = 20


@final
@dataclass(frozen=True)
class PublicIdentity:
    """A name and its public key.

    Attributes:
        client_id: 1 to 128 bytes of printable UTF-8.
        public_key: raw Ed25519 public key, 32 bytes.

    Raises:
        SetupError: the name or the key cannot be one.
    """

    client_id: ClientId
    public_key: bytes

    def __post_init__(self) -> None:
        if not valid_client_id(self.client_id):
            raise _invalid_roster("a client's name is empty, too long or not printable")
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key)
        except ValueError:
            raise _invalid_roster(f"the public key of {self.client_id} is not an Ed25519 key") from None
        if int.from_bytes(self.public_key, "little") & (2**255 - 1) in _SMALL_ORDER:
            raise _invalid_roster(f"anybody could sign under the public key of {self.client_id}")

    def to_line(self) -> str:
        """Name and key as one line of text, `NAME=KEY`, to hand to whoever makes the roster."""
        return f"{self.client_id}={encode_key(self.public_key)}"

    @classmethod
    def from_line(cls, line: str) -> PublicIdentity:
        """The inverse of `to_line`.

        Raises:
            ValueError: it is not such a line.
            SetupError: the name or the key cannot be one.
        """
        # A name may hold an equals sign, and a key ends in one: what is fixed is the length of a key.
        name, key = line[:-_KEY_CHARACTERS], line[-_KEY_CHARACTERS:]
        if not name.endswith("="):
            raise ValueError("not a name, an equals sign and a key")
        return cls(name[:-1], decode_key(key))

    def fingerprint(self) -> bytes:
        """SHA-256 of name and key."""
        fields = [b"fedstyle-secure public identity 1", self.client_id.encode(), self.public_key]
        return hashlib.sha256(join(fields)).digest()

    def verify(self, signature: bytes, signed: bytes) -> None:
        """Check a signature.

        Raises:
            ProtocolError: it was not made by this identity over these bytes.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, signed)
        except InvalidSignature:
            raise ProtocolError(
                ErrorCode.SIGNATURE_INVALID,
                f"a message in the name of {self.client_id} does not carry that client's signature",
                fix="Somebody changed the message or poses as this client, or the roster holds another key.",
            ) from None


@final
class Identity:
    """A client's name and its private signing key. Secret: printing and pickling give nothing away.

    Use `Identity.generate`, once for each client, and `save`.
    """

    def __init__(self, client_id: ClientId, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public = PublicIdentity(client_id, private_key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"Identity({self.client_id!r}, private key hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Identity holds a private key and cannot be pickled or copied; use save()")

    @classmethod
    def generate(cls, client_id: ClientId) -> Identity:
        """Make a new identity from the operating system's randomness.

        Raises:
            SetupError: the name is empty, too long or not printable.
        """
        return cls(client_id, Ed25519PrivateKey.generate())

    @property
    def client_id(self) -> ClientId:
        """The client's name."""
        return self.public.client_id

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature, 64 bytes."""
        return self._private_key.sign(message)

    def save(self, path: Path) -> None:
        """Write the identity to a new file that only its owner can read. The file is complete or absent.

        Raises:
            UsageError: the file exists.
            SetupError: it cannot be written.
        """
        content = write_document(
            "identity",
            client_id=self.client_id,
            private_key=encode_key(self._private_key.private_bytes_raw()),
        )
        write_new_private_file(path, content)

    @classmethod
    def load(cls, path: Path) -> Identity:
        """Read an identity file.

        Raises:
            SetupError: the file is missing, readable by others, or not an identity.
        """
        try:
            mode = path.stat().st_mode
            if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
                raise _invalid_identity(f"{path} can be read by other users of this machine")
            fields = read_fields(read_text(path), "identity", {"client_id", "private_key"})
            key = Ed25519PrivateKey.from_private_bytes(decode_key(fields["private_key"]))
        except OSError as error:
            raise _invalid_identity(f"{path} cannot be read ({error.strerror})") from None
        except ValueError:
            # The reason is left out: it could quote the content.
            raise _invalid_identity(f"{path} is not an identity file") from None
        if not valid_client_id(fields["client_id"]):
            raise _invalid_identity(f"{path} names no client")
        return cls(fields["client_id"], key)


@final
class Roster:
    """The public identities of all clients of a session, in an order that all of them know.

    Args:
        members: 2 to 1024 identities with different names and different keys.

    Raises:
        SetupError: too few or too many, or a name or a key stands twice.
    """

    def __init__(self, members: Sequence[PublicIdentity]) -> None:
        self._members = {member.client_id: member for member in members}
        if not 2 <= len(members) <= _LARGEST_ROSTER:
            raise _invalid_roster(f"a roster of {len(members)} clients; it must hold 2 to {_LARGEST_ROSTER}")
        if len(self._members) < len(members) or len({m.public_key for m in members}) < len(members):
            raise _invalid_roster("a name or a public key stands on the roster twice")
        fields = [part for m in members for part in (m.client_id.encode(), m.public_key)]
        self._fingerprint = hashlib.sha256(join([b"fedstyle-secure roster 1", *fields])).digest()

    def __repr__(self) -> str:
        return f"Roster({len(self)} clients, fingerprint {self.fingerprint().hex()[:16]})"

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[ClientId]:
        return iter(self._members)

    def __contains__(self, client_id: object) -> bool:
        return client_id in self._members

    @property
    def client_ids(self) -> tuple[ClientId, ...]:
        """All names, in roster order."""
        return tuple(self._members)

    def member(self, client_id: ClientId) -> PublicIdentity:
        """A client's public identity.

        Raises:
            ProtocolError: the client is not on the roster.
        """
        try:
            return self._members[client_id]
        except KeyError:
            raise ProtocolError(
                ErrorCode.MESSAGE_UNEXPECTED,
                f"{client_id or 'somebody without a name'} is not on the roster",
                fix="Give every client the same roster file, with everybody who takes part in it.",
            ) from None

    def fingerprint(self) -> bytes:
        """SHA-256 of all names and keys in order."""
        return self._fingerprint

    def save(self, path: Path) -> None:
        """Write the roster as JSON. It holds nothing secret, but its integrity matters.

        Raises:
            SetupError: the file cannot be written.
        """
        members = [
            {"client_id": m.client_id, "public_key": encode_key(m.public_key)} for m in self._members.values()
        ]
        try:
            path.write_text(write_document("roster", members=members), encoding="utf-8")
        except OSError as error:
            raise unwritable(path, error) from None

    @classmethod
    def load(cls, path: Path) -> Roster:
        """Read a roster file.

        Raises:
            SetupError: the file is missing or not a roster.
        """
        try:
            members = read_fields(read_text(path), "roster", {"members"})["members"]
            identities = [
                PublicIdentity(member["client_id"], decode_key(member["public_key"])) for member in members
            ]
        except OSError as error:
            raise _invalid_roster(f"{path} cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError):
            raise _invalid_roster(f"{path} is not a roster file") from None
        return cls(identities)


def spoken(fingerprint: bytes) -> str:
    """A fingerprint's first 160 bits in groups of four hex digits, to be read aloud and compared."""
    digits = fingerprint[:_SPOKEN_BYTES].hex()
    return " ".join(digits[place : place + 4] for place in range(0, len(digits), 4))


def _invalid_identity(what: str) -> SetupError:
    return SetupError(
        ErrorCode.IDENTITY_INVALID,
        what,
        fix="Use a file that `fedstyle-secure keys new` wrote, owned by you, with mode 0600.",
    )


def _invalid_roster(what: str) -> SetupError:
    return SetupError(
        ErrorCode.ROSTER_INVALID,
        what,
        fix="Use the roster file that all clients agreed on.",
    )
