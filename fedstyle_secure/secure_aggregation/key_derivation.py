"""Keys from secrets, and streams from keys: HKDF and AES in counter mode.

Flows in: a secret and what it is for. Flows out: a key for that purpose; a stream of words under a key. Never
seen here: what the streams mask.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jaxtyping import UInt64

__all__ = ["derive_key", "key_stream"]

_KEY_BYTES: Final = 32
_WORD_BYTES: Final = 8
_AES_BLOCK_BYTES: Final = 16


def derive_key(secret: bytes, info: bytes, *, size: int = _KEY_BYTES) -> bytes:
    """HKDF-SHA256 (RFC 5869) without a salt.

    Args:
        secret: shared secret or key, secret.
        info: what the key is for; different for every use. Public.
        size: bytes of the key.
    """
    return HKDF(algorithm=hashes.SHA256(), length=size, salt=None, info=info).derive(secret)


def key_stream(key: bytes, *, first_word: int, words: int) -> UInt64[np.ndarray, " words"]:
    """Words of an AES-256 counter-mode key stream, from any even place on.

    Args:
        key: 32 bytes, secret, for one stream only.
        first_word: place of the first word in the stream, even (an AES block holds two).
        words: how many.
    """
    counter = first_word * _WORD_BYTES // _AES_BLOCK_BYTES
    encryptor = Cipher(algorithms.AES(key), modes.CTR(counter.to_bytes(_AES_BLOCK_BYTES, "big"))).encryptor()
    return np.frombuffer(encryptor.update(bytes(_WORD_BYTES * words)), "<u8")
