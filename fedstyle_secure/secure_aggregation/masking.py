"""Pairwise masks that cancel in the sum.

Flows in: packed updates, and one secret for each peer. Flows out: masked updates. Never seen here: floats,
signatures, decryption keys.

Clients i and j share a key stream; the one whose name comes first adds it, the other subtracts it, modulo
2^plain_bits (Bonawitz et al. 2017, section 4.0.1, equation for y_u with the sign by the order of u and v).
The stream is AES-256 in counter mode; a power-of-two modulus takes its bits as they are, without bias. Its
key comes from X25519 through HKDF-SHA256 and is bound to session, policy, roster, stage, round, model and the
pair, so a stream is used for one vector only; `SumClient` refuses a second upload of the same stage and
round.

Every pair of the roster shares a mask: a complete graph. The self mask and the recovery of Bonawitz et al.
for clients that drop out, and sparser graphs for large cohorts (Bell et al. 2020), are not here yet: a
missing client ends the exchange.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn, final

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jaxtyping import UInt64

from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.packing import CHECK_WORDS, Block, Layout
from fedstyle_secure.secure_aggregation.parameters import RING_DEGREE
from fedstyle_secure.secure_aggregation.vectors import MaskedUpdate, PackedUpdate
from fedstyle_secure.secure_aggregation.wire import Label, Session

__all__ = ["PairMask", "add_masks", "check_words", "derive_key", "key_stream", "pair_mask"]

_WORD_BYTES: Final = 8
_AES_BLOCK_BYTES: Final = 16
_MASK_KEY_BYTES: Final = 32


@final
@dataclass(frozen=True, eq=False, repr=False)
class PairMask:
    """The mask that two clients share for one vector. Secret: printing and pickling give nothing away.

    Attributes:
        key: AES-256 key of its stream.
        adds: whether this client adds it; the other one subtracts it.
    """

    key: bytes
    adds: bool

    def __repr__(self) -> str:
        return "PairMask(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a PairMask is secret and cannot be pickled or copied")


def derive_key(secret: bytes, info: bytes, *, size: int = _MASK_KEY_BYTES) -> bytes:
    """HKDF-SHA256 (RFC 5869) without a salt.

    Args:
        secret: shared secret or key, secret.
        info: what the key is for; different for every use. Public.
        size: bytes of the key.
    """
    return HKDF(algorithm=hashes.SHA256(), length=size, salt=None, info=info).derive(secret)


def pair_mask(
    shared_secret: bytes,
    *,
    session: Session,
    label: Label,
    settings: SumSettings,
    own: ClientId,
    peer: ClientId,
) -> PairMask:
    """The mask that this client shares with a peer for one vector.

    Args:
        shared_secret: X25519 shared secret of the pair's session keys. Secret.
        session: the session.
        label: which vector.
        settings: public constants of its sum; masks of clients who disagree on them do not cancel.
        own: this client.
        peer: the other one.

    Returns:
        The mask; for the peer the same key with the other sign.
    """
    pair = sorted(name.encode() for name in (own, peer))
    info = session.binding("pair mask", *label.to_fields(), settings.to_bytes(), *pair)
    return PairMask(derive_key(shared_secret, info), own.encode() == pair[0])


def add_masks(
    packed: PackedUpdate, masks: Iterable[PairMask], *, layout: Layout, block: Block
) -> MaskedUpdate:
    """Add a client's masks to one block of its vector.

    Args:
        packed: the block.
        masks: one for each peer.
        layout: layout of the vector.
        block: which part of it.

    Returns:
        The masked block.

    Guarantees:
        For whoever lacks the key of at least one mask, the result is indistinguishable from uniform words
        below 2^plain_bits, whatever the block holds (AES-256 as a pseudo-random function, X25519 with HKDF as
        a key agreement).
    """
    words = packed.words.copy()
    for mask in masks:
        # Rows of a block that follow each other are contiguous in the stream: either they are full, or there
        # is one.
        stream = key_stream(mask.key, first_word=block.first_ciphertext * RING_DEGREE, words=words.size)
        if mask.adds:
            words += stream.reshape(words.shape)
        else:
            words -= stream.reshape(words.shape)
    words &= np.uint64(2**layout.parameters.plain_bits - 1)
    return MaskedUpdate(words)


def key_stream(key: bytes, *, first_word: int, words: int) -> UInt64[np.ndarray, " words"]:
    """Words of an AES counter-mode key stream, from any even place on.

    Args:
        key: 32 bytes, secret, for one stream only.
        first_word: place of the first word in the stream, even (an AES block holds two).
        words: how many.
    """
    counter = first_word * _WORD_BYTES // _AES_BLOCK_BYTES
    encryptor = Cipher(algorithms.AES(key), modes.CTR(counter.to_bytes(_AES_BLOCK_BYTES, "big"))).encryptor()
    return np.frombuffer(encryptor.update(bytes(_WORD_BYTES * words)), "<u8")


def check_words(
    group_secret: bytes, clients: Iterable[ClientId], *, session: Session, label: Label, layout: Layout
) -> UInt64[np.ndarray, "ciphertexts check_words"]:
    """The sum of some clients' check words for one vector.

    Every ciphertext of an honest sum of their uploads starts with these.

    Args:
        group_secret: what all clients know and the aggregator does not. Secret.
        clients: whose.
        session: the session.
        label: which vector.
        layout: its layout.

    Returns:
        Words modulo 2^plain_bits, different for every client, vector and ciphertext.

    Guarantees:
        A sum in which masks do not cancel, because a contribution was dropped, doubled or replaced, passes
        the check with probability 2^(-2 plain_bits) a ciphertext, whoever made it. Against an aggregator that
        no client helps the words are unpredictable, so the sum of another vector and a sum whose ciphertexts
        changed places fail as surely. A contribution or a whole sum times s fails but with probability 2^(-2
        (plain_bits - m)) if 2^m divides s - 1; the noise leaves room for small s only.

        Not noticed, or not surely: a constant added to coefficients other than the check words; and a
        multiple of the (unknown, ternary) decryption key added by way of the second polynomial, which leaves
        both check words as they are with a probability of up to 1/9. Linear tags over the values will close
        this.
    """
    total = np.zeros(layout.ciphertexts * CHECK_WORDS, np.uint64)
    for client in clients:
        terms = (*label.to_fields(), layout.settings.to_bytes())
        info = session.binding("check words", *terms, client.encode())
        total += key_stream(derive_key(group_secret, info), first_word=0, words=total.size)
    total &= np.uint64(2**layout.parameters.plain_bits - 1)
    return total.reshape(layout.ciphertexts, CHECK_WORDS)
