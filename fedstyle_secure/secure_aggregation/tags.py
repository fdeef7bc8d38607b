"""Linear tags: they catch a sum that is not the sum of its uploads.

Flows in: the group secret; encoded integers of one block, or the opened sum of a block and its tag words.
Flows out: tag words, or a refusal. Never seen here: floats, masks, decryption keys. The aggregator holds
nothing of what is here.

The tag of client i for a ciphertext c that holds the values x_0, x_1, ... is

    T = a_0 x_0 + a_1 x_1 + ... + b_(c,i)   modulo the prime p = 2^61 - 1

with coefficients a that all ciphertexts of a sum share, and a pad b for each client and ciphertext. All
clients know them, the aggregator does not. Tags add up as values do, so the sum of the survivors' tags must
be the tag of the opened sum under the sum of their pads. This is the homomorphic MAC of Agrawal and Boneh
(2009, HomMac); with one value in a ciphertext it is the linear case of Catalano and Fiore (2013), whose tag
(r - x) / alpha has a = -1 / alpha and b = r / alpha.

A tag travels as three limbs of 21 bits in coefficients of their own. Sums of 1,024 limbs stay below 2^31 and
below every plain modulus, so the limbs of the sum are exact integers, and are put together modulo p after the
sum has been opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn, final

import numpy as np
from jaxtyping import Int64, UInt32, UInt64

from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.key_derivation import derive_key, key_stream
from fedstyle_secure.secure_aggregation.packing import TAG_LIMB_BITS, TAG_WORDS, Block, Layout
from fedstyle_secure.secure_aggregation.refusals import sum_mismatch
from fedstyle_secure.secure_aggregation.vectors import EncodedUpdate
from fedstyle_secure.secure_aggregation.wire import Label, Session

__all__ = ["TAG_PRIME", "LinearTags"]

TAG_PRIME: Final = 2**61 - 1

_PAD_WORDS: Final = 2
"""Key stream words of a pad. 128 bits modulo p are uniform up to 2^-122; 64 bits would be up to 2^-61 only,
and a sum has up to 1,024 pads for each ciphertext."""


@final
class LinearTags:
    """The tags of one sum. Secret: printing and pickling give nothing away.

    Args:
        group_secret: what all clients of the session know and the aggregator does not. Secret.
        session: the session.
        label: which sum. No two sums under one group secret may have the same label: a client that tags two
            vectors under one label gives its pads away.
        settings: public constants of the sum.

    Guarantees:
        Against an aggregator that no client helps. Let it do to the sealed sum what it likes: drop, double,
        scale, replace or permute ciphertexts, add constants or multiples of the unknown key, answer with
        another sum. If an opened value differs from the sum of the values that the named survivors have
        uploaded, `require` lets the sum pass with a probability of at most 2^-60 for each client that opens
        an answer. (Given everything the aggregator can act on, tags included, the a are still unknown: each
        tag has a fresh pad. To pass it must have hit the one value of sum a_j d_j that its change of the tag
        words allows, where d_j, the change of value j, is below 2^34 < p in size, so not 0 modulo p. An a_j
        is a word of 64 bits modulo p: no residue is more likely than 9 / 2^64 < 2^-60.8. AES-256 is taken for
        a random function, HKDF for a random oracle.)

        None against an aggregator that a client helps: it knows a and b, and tags what it likes. Masks that
        do not cancel still leave random words, which pass with a probability of about 2^-60.

        Any client can spoil a sum with a wrong tag; who it was cannot be told.
    """

    def __init__(self, group_secret: bytes, *, session: Session, label: Label, settings: SumSettings) -> None:
        terms = (*label.to_fields(), settings.to_bytes())
        self._pad_key = derive_key(group_secret, session.binding("tag pads", *terms))
        self._places = {name: place for place, name in enumerate(session.roster)}
        key = derive_key(group_secret, session.binding("tag coefficients", *terms))
        count = min(Layout.of(settings).values_per_ciphertext, settings.length)
        # In limbs of 16 bits: times values of 34 bits, 4,093 of them in a ciphertext, that is below 2^62.
        # Where a ciphertext holds more values they are smaller.
        limbs = key_stream(key, first_word=0, words=count).view("<u2").reshape(count, 4)
        self._limbs = np.ascontiguousarray(limbs.T, np.uint64)

    def __repr__(self) -> str:
        return "LinearTags(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("LinearTags are secret and cannot be pickled or copied")

    def of(
        self, encoded: EncodedUpdate, *, client: ClientId, block: Block
    ) -> UInt64[np.ndarray, "ciphertexts tag_words"]:
        """The tags of one client's block.

        Args:
            encoded: the block's values.
            client: whose they are.
            block: which part of the vector.

        Returns:
            The limbs of each ciphertext's tag, lowest first, below 2^21. For one vector only.
        """
        products, pads = self._products(encoded.values, block), self._pads([client], block)
        tags = [(product + pad) % TAG_PRIME for product, pad in zip(products, pads, strict=True)]
        shifts = range(0, TAG_WORDS * TAG_LIMB_BITS, TAG_LIMB_BITS)
        return np.array(
            [[tag >> shift & (2**TAG_LIMB_BITS - 1) for shift in shifts] for tag in tags], np.uint64
        )

    def require(
        self,
        values: Int64[np.ndarray, " values"],
        tag_words: UInt64[np.ndarray, "ciphertexts tag_words"],
        *,
        survivors: Sequence[ClientId],
        block: Block,
    ) -> None:
        """Refuse a block of an opened sum whose tags are not those of its values.

        Args:
            values: the opened values, from 0 to below 2^34.
            tag_words: the opened tag words.
            survivors: whose uploads the sum is said to be made of, each once.
            block: which part of the vector.

        Raises:
            ProtocolError: the sum does not add up. See the class for what this is worth.
        """
        products, pads = self._products(values, block), self._pads(survivors, block)
        for product, pad, tag in zip(products, pads, _integers(tag_words, TAG_LIMB_BITS), strict=True):
            if (product + pad - tag) % TAG_PRIME:
                raise sum_mismatch()

    def _products(
        self, values: UInt32[np.ndarray, " values"] | Int64[np.ndarray, " values"], block: Block
    ) -> list[int]:
        # a_0 x_0 + a_1 x_1 + ... of each ciphertext, not yet modulo p.
        rows = values.reshape(block.ciphertexts, -1).astype(np.uint64)
        return _integers(np.einsum("cj,lj->cl", rows, self._limbs[:, : rows.shape[1]]), 16)

    def _pads(self, clients: Sequence[ClientId], block: Block) -> list[int]:
        # The sum of the clients' pads for each ciphertext, not yet modulo p. In the stream all clients' pads
        # for a ciphertext follow each other: one stretch serves a block and any set of survivors.
        each = _PAD_WORDS * len(self._places)
        stream = key_stream(
            self._pad_key, first_word=each * block.first_ciphertext, words=each * block.ciphertexts
        )
        limbs = stream.view("<u4").reshape(block.ciphertexts, len(self._places), 2 * _PAD_WORDS)
        places = [self._places[client] for client in clients]
        return _integers(limbs[:, places].sum(axis=1, dtype=np.uint64), 32)


def _integers(limbs: UInt64[np.ndarray, "ciphertexts limbs"], bits: int) -> list[int]:
    # One Python integer for each ciphertext; it has hundreds or thousands of values, so this loop is short.
    return [sum(limb << bits * place for place, limb in enumerate(row)) for row in limbs.tolist()]
