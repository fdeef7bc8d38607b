"""The states that a vector passes through on its way to the wire, as types.

Flows in: one client's vector. Flows out: the same vector in the next state. Only an `EncryptedUpdate` can be
written into a message; mypy refuses every shortcut. Long vectors go through the later states block by block,
so an `EncodedUpdate` and what follows hold one block (see `packing.Block`). Never seen here: keys. No state
shows its values when it is printed.

    LocalUpdate -> ClippedUpdate -> EncodedUpdate -> PackedUpdate -> MaskedUpdate -> EncryptedUpdate
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, final

import numpy as np
from jaxtyping import Float, UInt8, UInt32, UInt64

from fedstyle_secure.errors import ErrorCode, UsageError

__all__ = [
    "ClippedUpdate",
    "EncodedUpdate",
    "EncryptedUpdate",
    "LocalUpdate",
    "MaskedUpdate",
    "PackedUpdate",
]


def _sizes_only(state: Any) -> str:
    shapes = [f"{field.name}={getattr(state, field.name).shape}" for field in fields(state)]
    return f"{type(state).__name__}({', '.join(shapes)}, values hidden)"


@final
@dataclass(frozen=True, eq=False, repr=False)
class LocalUpdate:
    """A raw vector from local work. Private, and of any size.

    Attributes:
        values: the vector.
    """

    values: Float[np.ndarray, " values"]

    __repr__ = _sizes_only

    def clip(self, *, norm_l2: float) -> ClippedUpdate:
        """Scale the vector down to an L2 norm of at most `norm_l2`.

        Args:
            norm_l2: the largest norm that is let through, above 0 and finite.

        Returns:
            The vector itself if it is short enough, else a shorter one of the same direction.

        Raises:
            UsageError: `norm_l2` is not a positive finite number, or the vector holds NaN or infinity.
        """
        if not (math.isfinite(norm_l2) and norm_l2 > 0):
            raise UsageError(
                ErrorCode.SUM_SETTINGS_INVALID,
                f"a clip of {norm_l2} bounds nothing",
                fix="Pass norm_l2 as a finite number above 0.",
            )
        norm = float(np.linalg.norm(self.values.astype(np.float64, copy=False)))
        if not math.isfinite(norm):
            raise UsageError(
                ErrorCode.UPDATE_NOT_FINITE,
                "the update holds NaN or infinity, or values too large for a norm",
                fix="Find the step that diverged; nothing was sent.",
            )
        return ClippedUpdate(self.values if norm <= norm_l2 else self.values * (norm_l2 / norm))


@final
@dataclass(frozen=True, eq=False, repr=False)
class ClippedUpdate:
    """A vector whose influence is bounded, with its noise if it has any. Private; the input of a secure sum.

    Attributes:
        values: the vector.
    """

    values: Float[np.ndarray, " values"]

    __repr__ = _sizes_only


@final
@dataclass(frozen=True, eq=False, repr=False)
class EncodedUpdate:
    """A vector as unsigned integers of `value_bits` bits. Private.

    Attributes:
        values: the integers; sums of them are exact.
    """

    values: UInt32[np.ndarray, " values"]

    __repr__ = _sizes_only


@final
@dataclass(frozen=True, eq=False, repr=False)
class PackedUpdate:
    """Several encoded values in each coefficient, behind the words of a tag. Private.

    Attributes:
        words: coefficients below 2^plain_bits.
    """

    words: UInt64[np.ndarray, "ciphertexts coefficients"]

    __repr__ = _sizes_only


@final
@dataclass(frozen=True, eq=False, repr=False)
class MaskedUpdate:
    """A packed vector plus masks modulo 2^plain_bits: uniform for whoever lacks one honest peer's mask key.

    Attributes:
        words: coefficients below 2^plain_bits.
    """

    words: UInt64[np.ndarray, "ciphertexts coefficients"]

    __repr__ = _sizes_only


@final
@dataclass(frozen=True, eq=False, repr=False)
class EncryptedUpdate:
    """A masked vector under BFV: the only state that a message can carry.

    Attributes:
        c0: first polynomial of each ciphertext without its low bits.
        seeds: seed from which SEAL expands each ciphertext's second polynomial.
    """

    c0: UInt64[np.ndarray, "ciphertexts coefficients"]
    seeds: UInt8[np.ndarray, "ciphertexts 64"]

    __repr__ = _sizes_only
