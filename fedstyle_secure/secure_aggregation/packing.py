"""Several values in one coefficient, behind the words of a tag.

Flows in: encoded integers of one block, and tag words. Flows out: coefficients below 2^plain_bits; and from
the coefficients of an opened sum, the summed integers and tag words. Never seen here: keys, floats.

A coefficient holds `fields` sums side by side, each wide enough for the largest cohort, so fields never run
into each other. Every ciphertext starts with the `TAG_WORDS` coefficients of its tag (see `tags`). The last
ciphertext is cut after its last value: coefficient j of a message needs coefficient j of the first polynomial
only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Int64, UInt64

from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.parameters import (
    RING_DEGREE,
    ParameterSet,
    choose_parameters,
    field_bits,
)
from fedstyle_secure.secure_aggregation.refusals import sum_mismatch
from fedstyle_secure.secure_aggregation.vectors import EncodedUpdate, PackedUpdate

__all__ = ["TAG_LIMB_BITS", "TAG_WORDS", "Block", "Layout", "pack", "unpack"]

TAG_WORDS: Final = 3
"""Coefficients of a ciphertext's tag."""
TAG_LIMB_BITS: Final = 21
"""Bits of a tag in one coefficient. The sum over the largest cohort stays below every plain modulus."""

_SLOTS: Final = RING_DEGREE - TAG_WORDS
_BLOCK_CIPHERTEXTS: Final = 16
"""Ciphertexts handled at once: 512 KiB of coefficients, so that the working set stays in a core's cache."""


@final
@dataclass(frozen=True)
class Block:
    """A run of ciphertexts with the same number of used coefficients.

    Attributes:
        first_ciphertext: place of the first one in the whole vector.
        ciphertexts: how many.
        slots: coefficients of each that hold values.
        first_value: place of the block's first value in the whole vector.
        values: how many values the block holds.
    """

    first_ciphertext: int
    ciphertexts: int
    slots: int
    first_value: int
    values: int

    @property
    def coefficients(self) -> int:
        """Coefficients of each ciphertext that travel."""
        return TAG_WORDS + self.slots


@final
@dataclass(frozen=True)
class Layout:
    """Where each value of a vector goes. A function of the public settings alone.

    Attributes:
        settings: public constants of the sum.
        parameters: the parameter set in use.
        field_bits: width of a field.
        fields: fields in a coefficient.
    """

    settings: SumSettings
    parameters: ParameterSet
    field_bits: int
    fields: int

    @classmethod
    def of(cls, settings: SumSettings) -> Layout:
        """The layout of a sum."""
        parameters, bits = choose_parameters(settings), field_bits(settings)
        return cls(settings, parameters, bits, parameters.plain_bits // bits)

    @property
    def values_per_ciphertext(self) -> int:
        """Number of values that a full ciphertext holds."""
        return _SLOTS * self.fields

    @property
    def ciphertexts(self) -> int:
        """Number of ciphertexts in an upload."""
        return -(-self.settings.length // self.values_per_ciphertext)

    @property
    def coefficients(self) -> int:
        """Number of coefficients in an upload, tag words included."""
        full, rest = divmod(self.settings.length, self.values_per_ciphertext)
        return full * RING_DEGREE + (TAG_WORDS - (-rest // self.fields) if rest else 0)

    def blocks(self) -> Iterator[Block]:
        """The blocks of the vector, in order. A ciphertext that is not full is a block of its own."""
        per_ciphertext = self.values_per_ciphertext
        full, rest = divmod(self.settings.length, per_ciphertext)
        for first in range(0, full, _BLOCK_CIPHERTEXTS):
            count = min(_BLOCK_CIPHERTEXTS, full - first)
            yield Block(first, count, _SLOTS, first * per_ciphertext, count * per_ciphertext)
        if rest:
            yield Block(full, 1, -(-rest // self.fields), full * per_ciphertext, rest)


def pack(
    encoded: EncodedUpdate,
    *,
    layout: Layout,
    block: Block,
    tag_words: UInt64[np.ndarray, "ciphertexts tag_words"],
) -> PackedUpdate:
    """Put a block's values side by side into coefficients.

    Args:
        encoded: the block's values.
        layout: layout of the vector.
        block: which part of it.
        tag_words: this client's tags for the values, limbs of `TAG_LIMB_BITS` bits.

    Returns:
        Tag words, then values; field f of slot s is value f * slots + s of its ciphertext.
    """
    fields = np.zeros((block.ciphertexts, layout.fields, block.slots), np.uint64)
    # Only a ciphertext that is not full leaves fields over, and it is alone in its block.
    fields.reshape(-1)[: block.values] = encoded.values
    words = np.empty((block.ciphertexts, block.coefficients), np.uint64)
    words[:, :TAG_WORDS] = tag_words
    values = words[:, TAG_WORDS:]
    values[:] = fields[:, -1]
    for index in range(layout.fields - 2, -1, -1):
        values <<= np.uint64(layout.field_bits)
        values |= fields[:, index]
    return PackedUpdate(words)


def unpack(
    words: UInt64[np.ndarray, "ciphertexts coefficients"], *, layout: Layout, block: Block, clients: int
) -> tuple[Int64[np.ndarray, " values"], UInt64[np.ndarray, "ciphertexts tag_words"]]:
    """Take the values and the tag words out of the coefficients of an opened sum.

    Args:
        words: decrypted coefficients of the block.
        layout: layout of the vector.
        block: which part of it.
        clients: number of clients in the sum.

    Returns:
        The summed values of the block, and the summed tag words. Whether they belong together is for
        `LinearTags.require` to say.

    Raises:
        ProtocolError: a value is one that no honest sum has.
    """
    rest = words[:, TAG_WORDS:].copy()
    fields = np.empty((block.ciphertexts, layout.fields, block.slots), np.int64)
    for index in range(layout.fields):
        fields[:, index] = rest & np.uint64(2**layout.field_bits - 1)
        rest >>= np.uint64(layout.field_bits)
    values = fields.reshape(-1)
    if rest.any() or values[block.values :].any() or values.max() > clients * layout.settings.largest_encoded:
        raise sum_mismatch()
    return values[: block.values], words[:, :TAG_WORDS]
