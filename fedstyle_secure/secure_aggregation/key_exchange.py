"""Session keys: X25519 between each two clients, and the decryption key sealed from one to the other.

Flows in: public session keys of peers, the BFV key (from the client that made it). Flows out: one shared
secret for each pair; the BFV key in boxes that only their recipients open. Never seen here: vectors. The
aggregator relays what this module writes and can read the public halves alone.

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
from fedstyle_secure.secure_aggregation.encryption import KEY_BYTES, BfvKey
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.masking import derive_key
from fedstyle_secure.secure_aggregation.refusals import malformed
from fedstyle_secure.secure_aggregation.wire import Session

__all__ = ["PUBLIC_KEY_BYTES", "SEALED_KEY_BYTES", "PairSecret", "SessionKey", "open_sealed_key", "seal_key"]

PUBLIC_KEY_BYTES: Final = 32
_NONCE_BYTES, _TAG_BYTES = 12, 16
SEALED_KEY_BYTES: Final = _NONCE_BYTES + KEY_BYTES + _TAG_BYTES


@final
@dataclass(frozen=True, eq=False, repr=False)
class PairSecret:
    """What two clients of a session share, and the public keys that it came from. Secret.

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
    """A client's X25519 key for one session. Secret: printing and pickling give nothing away."""

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
        try:
            secret = self._private_key.exchange(X25519PublicKey.from_public_bytes(peer_public_key))
        except ValueError:
            raise malformed(f"the session key of {peer} is not a usable X25519 key") from None
        return PairSecret(secret, self.public_key, peer_public_key)


def seal_key(
    key: BfvKey, pair: PairSecret, *, session: Session, sender: ClientId, recipient: ClientId
) -> bytes:
    """Seal the decryption key for one peer.

    ChaCha20-Poly1305 (RFC 8439) under a key of this pair and direction, with a random nonce.

    Args:
        key: the key.
        pair: secret shared with the recipient.
        session: the session.
        sender: who seals.
        recipient: who may open.

    Returns:
        Nonce, ciphertext and tag, `SEALED_KEY_BYTES` long.
    """
    context = _sealing_context(session, sender, recipient, pair.own_public_key, pair.peer_public_key)
    nonce = os.urandom(_NONCE_BYTES)
    box = ChaCha20Poly1305(derive_key(pair.shared_secret, context))
    return nonce + box.encrypt(nonce, key.to_bytes(), context)


def open_sealed_key(
    sealed: bytes, pair: PairSecret, *, session: Session, sender: ClientId, recipient: ClientId
) -> BfvKey:
    """The inverse of `seal_key`, on the recipient's side.

    Raises:
        ProtocolError: the box was made for another session, sender or recipient, or was changed.
    """
    if len(sealed) != SEALED_KEY_BYTES:
        raise malformed("a sealed key has the wrong size")
    context = _sealing_context(session, sender, recipient, pair.peer_public_key, pair.own_public_key)
    box = ChaCha20Poly1305(derive_key(pair.shared_secret, context))
    try:
        opened = box.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except InvalidTag:
        raise ProtocolError(
            ErrorCode.SIGNATURE_INVALID,
            f"the decryption key that {sender} sealed does not open",
            fix="It was sealed for another session or recipient, or changed on its way. Start a new session.",
        ) from None
    return BfvKey.from_bytes(opened)


def _sealing_context(
    session: Session, sender: ClientId, recipient: ClientId, sender_key: bytes, recipient_key: bytes
) -> bytes:
    names = (sender.encode(), recipient.encode())
    return session.binding("sealed decryption key", *names, sender_key, recipient_key)
