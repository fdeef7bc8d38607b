"""Arithmetic of ciphertext coefficients modulo q, in numpy.

Flows in: coefficients below q, or what is left of them without their low bits; words below the plain modulus.
Flows out: the same in another scale. Never seen here: keys.

A plaintext m stands in a ciphertext as round(q m / t) (Fan and Vercauteren 2012, section 4), with t =
2^plain_bits. q mod t is 1 for every parameter set, so that the scale is a whole number, q >> plain_bits, up
to a correction of 0 or 1.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from jaxtyping import UInt64

from fedstyle_secure.secure_aggregation.parameters import COEFFICIENT_MODULUS

__all__ = ["Words", "add", "cut", "largest_cut", "restore", "scale_down", "scale_up", "subtract"]

_Q: Final = np.uint64(COEFFICIENT_MODULUS)

Words: TypeAlias = UInt64[np.ndarray, "ciphertexts coefficients"]


def largest_cut(cut_bits: int) -> int:
    """The largest value that a coefficient below q can have after its low bits are cut."""
    return (COEFFICIENT_MODULUS - 1 + _half(cut_bits)) >> cut_bits


def cut(words: Words, cut_bits: int) -> Words:
    """Drop the low bits of coefficients below q, rounding to nearest."""
    rounded = words + np.uint64(_half(cut_bits))
    rounded >>= np.uint64(cut_bits)
    return rounded


def restore(words: Words, cut_bits: int) -> Words:
    """Put zeros where low bits were cut.

    Args:
        words: at most `largest_cut(cut_bits)` each.
        cut_bits: how many bits were cut.

    Returns:
        Coefficients below q, off by at most half of 2^cut_bits modulo q.
    """
    # Rounding up may have reached past q.
    return _reduce(words << np.uint64(cut_bits))


def add(left: Words, right: Words) -> Words:
    """The sum of coefficients below q, modulo q."""
    return _reduce(left + right)


def subtract(left: Words, right: Words) -> Words:
    """The difference of coefficients below q, modulo q."""
    return _reduce(left + (_Q - right))


def scale_up(words: Words, plain_bits: int) -> Words:
    """round(q m / t) for words m below t = 2^plain_bits, as SEAL scales a plaintext."""
    scaled = words * np.uint64(COEFFICIENT_MODULUS >> plain_bits)
    scaled += words >> np.uint64(plain_bits - 1)
    return scaled


def scale_down(words: Words, plain_bits: int) -> Words:
    """round(t x / q) modulo t for coefficients x below q: the last step of decryption.

    Exact for an even q >> plain_bits. For an odd one, 48 plain bits, it is off at most where the rounding is
    a tie to within one unit of x, where no noise budget is left.
    """
    scale = COEFFICIENT_MODULUS >> plain_bits
    scaled = words + np.uint64((scale - 1) >> 1)
    scaled //= np.uint64(scale)
    scaled &= np.uint64(2**plain_bits - 1)
    return scaled


def _half(cut_bits: int) -> int:
    return (1 << cut_bits) >> 1


def _reduce(words: Words) -> Words:
    # From below 2q to below q, in place: for a word below q the difference wraps around and is larger.
    np.minimum(words, words - _Q, out=words)
    return words
