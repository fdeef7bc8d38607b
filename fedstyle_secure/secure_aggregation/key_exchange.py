"""Session keys: X25519 between each two clients, and boxes that only the other one of a pair can open.

Flows in: public session keys of peers, secrets to hand over. Flows out: one shared secret for each pair;
sealed boxes and what was in them. Never seen here: vectors. The aggregator relays what this module writes and
can read the public halves alone.

A session key lives as long as its object and is never written to disk, so a session that is over cannot be
opened later with an identity file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, NoReturn, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.key_derivation import derive_key
from fedstyle_secure.secure_aggregation.refusals import malformed
from fedstyle_secure.secure_aggregation.wire import Session

__all__ = [
    "PUBLIC_KEY_BYTES",
    "SEALING_BYTES",
    "PairSecret",
    "SessionKey",
    "agree",
    "is_low_order",
    "open_box",
    "seal_box",
]

PUBLIC_KEY_BYTES: Final = 32
_NONCE_BYTES, _TAG_BYTES = 12, 16
_FIELD_PRIME: Final = 2**255 - 19
_LOW_ORDER: Final = frozenset(
    {
        0,
        1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
        _FIELD_PRIME - 1,
        _FIELD_PRIME,
        _FIELD_PRIME + 1,
    }
)
SEALING_BYTES: Final = _NONCE_BYTES + _TAG_BYTES
"""What a box is longer than its content."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class PairSecret:
    """What two clients share in one set-up, and the public keys that it came from. Secret.

    Attributes:
        shared_secret: X25519 shared secret, 32 bytes.
        own_public_key: this client's public session key.
        peer_public_key: the other one's.
    """

    shared_secret: bytes
    own_public_key: bytes
    peer_public_key: bytes

    def __repr__(self) -> str:
        return "PairSecret(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a PairSecret is secret and cannot be pickled or copied")


@final
class SessionKey:
    """A client's X25519 key for one set-up. Secret: printing and pickling give nothing away."""

    def __init__(self) -> None:
        self._private_key = X25519PrivateKey.generate()
        self.public_key = self._private_key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return "SessionKey(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SessionKey is secret and cannot be pickled or copied")

    def agree(self, peer: ClientId, peer_public_key: bytes) -> PairSecret:
        """Agree on a secret with a peer.

        Args:
            peer: the peer's name, for errors.
            peer_public_key: from an advertisement whose signature has been checked.

        Raises:
            ProtocolError: the key is one that makes every secret zero.
        """
        secret = agree(self._private_key, peer_public_key, peer=peer)
        return PairSecret(secret, self.public_key, peer_public_key)


def agree(private_key: X25519PrivateKey, peer_public_key: bytes, *, peer: ClientId) -> bytes:
    """The X25519 shared secret (RFC 7748), 32 bytes.

    Raises:
        ProtocolError: the public key is one that makes every secret zero.
    """
    try:
        return private_key.exchange(X25519PublicKey.from_public_bytes(peer_public_key))
    except ValueError:
        raise malformed(f"a public key of {peer} is not a usable X25519 key") from None


def is_low_order(public_key: bytes) -> bool:
    """Whether a public key is one that makes every secret zero, so that a mask from it would be none.

    X25519 ignores the highest bit (RFC 7748, section 5), and reads numbers from p = 2^255 - 19 upwards modulo
    p: these are all encodings of the points whose order divides 8.
    """
    return int.from_bytes(public_key, "little") & (2**255 - 1) in _LOW_ORDER


def seal_box(
    content: bytes,
    pair: PairSecret,
    *,
    session: Session,
    setup: bytes,
    sender: ClientId,
    recipient: ClientId,
) -> bytes:
    """Seal secrets for one peer.

    ChaCha20-Poly1305 (RFC 8439) under a key of this pair, direction and set-up, with a random nonce. Both
    session keys were signed by their owners, so what opens was written by `sender`.

    Args:
        content: what only the recipient may read.
        pair: secret shared with the recipient.
        session: the session.
        setup: hash of everything that the set-up has agreed on so far.
        sender: who seals.
        recipient: who may open.

    Returns:
        Nonce, ciphertext and tag: `SEALING_BYTES` more than the content.
    """
    keys = (pair.own_public_key, pair.peer_public_key)
    context = session.binding("sealed secrets", setup, sender.encode(), recipient.encode(), *keys)
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + ChaCha20Poly1305(derive_key(pair.shared_secret, context)).encrypt(nonce, content, context)


def open_box(
    box: bytes,
    pair: PairSecret,
    *,
    session: Session,
    setup: bytes,
    sender: ClientId,
    recipient: ClientId,
) -> bytes:
    """The inverse of `seal_box`, on the recipient's side.

    Raises:
        ProtocolError: the box was made for another session, set-up, sender or recipient, or was changed.
    """
    keys = (pair.peer_public_key, pair.own_public_key)
    context = session.binding("sealed secrets", setup, sender.encode(), recipient.encode(), *keys)
    cipher = ChaCha20Poly1305(derive_key(pair.shared_secret, context))
    try:
        return cipher.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], context)
    except InvalidTag:
        raise ProtocolError(
            ErrorCode.SIGNATURE_INVALID,
            f"the secrets that {sender} sealed for {recipient} do not open",
            fix="They were sealed for another set-up, or changed on their way. Set up again.",
        ) from None
