"""Masks that hide one client's vector and come off the sum again.

Flows in: packed updates, and seeds. Flows out: masked updates; on the aggregator's side the sum of the masks
that must come off. Never seen here: floats, signatures, decryption keys.

Double masking (Bonawitz et al. 2017, section 4): a client adds a mask of its own, and with each neighbour a
common one that the first of the two by name adds and the other subtracts, modulo 2^plain_bits. The common
masks of two survivors cancel. What is left, the survivors' own masks and the masks that survivors share with
clients who dropped out, the aggregator takes off with seeds that the survivors' shares reconstruct.

A mask is a stream of AES-256 in counter mode; a power-of-two modulus takes its bits as they are, without
bias. Its key comes through HKDF-SHA256 from a seed or an X25519 secret of this slot alone, and is bound to
session, policy, roster, cohort, stage, round, model and settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn, final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from jaxtyping import UInt64

from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.key_derivation import derive_key, key_stream
from fedstyle_secure.secure_aggregation.key_exchange import agree
from fedstyle_secure.secure_aggregation.packing import Block, Layout
from fedstyle_secure.secure_aggregation.parameters import RING_DEGREE
from fedstyle_secure.secure_aggregation.vectors import MaskedUpdate, PackedUpdate
from fedstyle_secure.secure_aggregation.wire import Label, Session

__all__ = ["MaskContext", "StreamMask", "add_masks", "mask_sum"]


@final
@dataclass(frozen=True, eq=False, repr=False)
class StreamMask:
    """One mask of one vector. Secret: printing and pickling give nothing away.

    Attributes:
        key: AES-256 key of its stream.
        adds: whether the client adds it to its vector, or subtracts it.
    """

    key: bytes
    adds: bool

    def __repr__(self) -> str:
        return "StreamMask(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a StreamMask is secret and cannot be pickled or copied")


@final
@dataclass(frozen=True)
class MaskContext:
    """What the masks of one sum are bound to. If clients disagree on it, their masks do not cancel.

    Attributes:
        session: the session.
        cohort: hash of all that the set-up agreed on.
        label: which sum.
        layout: layout of its vectors.
    """

    session: Session
    cohort: bytes
    label: Label
    layout: Layout

    def own_mask(self, self_seed: bytes, owner: ClientId) -> StreamMask:
        """The mask that a client adds for itself.

        Args:
            self_seed: 32 bytes of this slot. Secret.
            owner: whose it is.
        """
        return StreamMask(derive_key(self_seed, self._info("self mask", owner)), adds=True)

    def pair_mask(
        self, mask_seed: bytes, peer_mask_key: bytes, *, owner: ClientId, peer: ClientId
    ) -> StreamMask:
        """The mask that a client shares with a neighbour.

        Args:
            mask_seed: the owner's X25519 private key of this slot, 32 bytes. Secret.
            peer_mask_key: the neighbour's public one.
            owner: who adds or subtracts it.
            peer: the neighbour; it has the same mask with the other sign.

        Raises:
            ProtocolError: the neighbour's key cannot be used.
        """
        secret = agree(X25519PrivateKey.from_private_bytes(mask_seed), peer_mask_key, peer=peer)
        first, second = sorted((owner, peer), key=str.encode)
        return StreamMask(derive_key(secret, self._info("pair mask", first, second)), adds=owner == first)

    def _info(self, purpose: str, *names: ClientId) -> bytes:
        settings = self.layout.settings.to_bytes()
        encoded = (name.encode() for name in names)
        return self.session.binding(purpose, self.cohort, *self.label.to_fields(), settings, *encoded)


def add_masks(
    packed: PackedUpdate, masks: Iterable[StreamMask], *, layout: Layout, block: Block
) -> MaskedUpdate:
    """Add a client's masks to one block of its vector.

    Args:
        packed: the block.
        masks: the client's own mask and one for each neighbour.
        layout: layout of the vector.
        block: which part of it.

    Returns:
        The masked block.

    Guarantees:
        For whoever lacks the key of at least one mask, the result is indistinguishable from uniform words
        below 2^plain_bits, whatever the block holds (AES-256 as a pseudo-random function, X25519 with HKDF as
        a key agreement).
    """
    return MaskedUpdate(_accumulate(packed.words.copy(), masks, layout=layout, block=block))


def mask_sum(
    masks: Iterable[StreamMask], *, layout: Layout, block: Block
) -> UInt64[np.ndarray, "ciphertexts coefficients"]:
    """The sum of masks for one block: what the aggregator takes off a sealed sum.

    Args:
        masks: masks of survivors that no other survivor's mask cancels.
        layout: layout of the vector.
        block: which part of it.

    Returns:
        Words below 2^plain_bits.
    """
    words = np.zeros((block.ciphertexts, block.coefficients), np.uint64)
    return _accumulate(words, masks, layout=layout, block=block)


def _accumulate(
    words: UInt64[np.ndarray, "ciphertexts coefficients"],
    masks: Iterable[StreamMask],
    *,
    layout: Layout,
    block: Block,
) -> UInt64[np.ndarray, "ciphertexts coefficients"]:
    for mask in masks:
        # Rows of a block that follow each other are contiguous in the stream: either they are full, or there
        # is one.
        stream = key_stream(mask.key, first_word=block.first_ciphertext * RING_DEGREE, words=words.size)
        if mask.adds:
            words += stream.reshape(words.shape)
        else:
            words -= stream.reshape(words.shape)
    words &= np.uint64(2**layout.parameters.plain_bits - 1)
    return words
