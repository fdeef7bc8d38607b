"""Floats to integers and back.

Flows in: a clipped float vector. Flows out: unsigned integers whose sum is exact, and floats from such a sum.
Never seen here: keys, other clients' vectors.

A value is clamped to the public limit, scaled to a grid of 2^value_bits - 1 points, rounded up or down at
random so that the expectation is the value itself, and shifted to be non-negative. The randomness comes from
the operating system through a keyed stream and is used once; evaluations that must be repeatable round to the
nearest point instead.
"""

from __future__ import annotations

import math
import os
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from jaxtyping import Float, Int, UInt32

from fedstyle_secure.errors import ErrorCode, UsageError
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate, EncodedUpdate

__all__ = [
    "SETTINGS_BYTES",
    "IntegerSum",
    "NearestRounding",
    "Rounding",
    "SumSettings",
    "SystemRounding",
    "decode",
    "encode",
    "require_encodable",
]

_LONGEST = 2**26
_SMALLEST_LIMIT, _LARGEST_LIMIT = 1e-30, 1e30
_WIRE = struct.Struct("<QBHd")
_FINITE_CHECK_VALUES = 1 << 17
_FRACTION_BITS = 32


@final
@dataclass(frozen=True)
class SumSettings:
    """Public constants of one secure sum, the same for all clients.

    Attributes:
        length: number of values in a vector, 1 to 2^26.
        value_bits: bits that a value is rounded to, 8 to 24.
        value_limit: values are clamped to plus or minus this, 1e-30 to 1e30.
        cohort_cap: the largest number of clients that the sum has room for, 2 to 1024.

    Raises:
        UsageError: a constant is outside its range.
    """

    length: int
    value_bits: int
    value_limit: float
    cohort_cap: int

    def __post_init__(self) -> None:
        _require_range("length", self.length, 1, _LONGEST)
        _require_range("value_bits", self.value_bits, 8, 24)
        _require_range("cohort_cap", self.cohort_cap, 2, 1024)
        limit = float(self.value_limit)
        _require_range("value_limit", limit, _SMALLEST_LIMIT, _LARGEST_LIMIT)
        object.__setattr__(self, "value_limit", limit)

    @property
    def steps(self) -> int:
        """Grid points on each side of zero."""
        return int(2 ** (self.value_bits - 1)) - 1

    @property
    def largest_encoded(self) -> int:
        """The largest encoded value; the smallest is 0."""
        return 2 * self.steps

    @property
    def steps_per_unit(self) -> float:
        """Grid points in 1.0."""
        return self.steps / self.value_limit

    def to_bytes(self) -> bytes:
        """The settings as they travel."""
        return _WIRE.pack(self.length, self.value_bits, self.cohort_cap, self.value_limit)

    @classmethod
    def from_bytes(cls, data: bytes) -> SumSettings:
        """The inverse of `to_bytes`.

        Raises:
            UsageError: a constant is outside its range.
            struct.error: `data` is not `SETTINGS_BYTES` long.
        """
        length, value_bits, cohort_cap, value_limit = _WIRE.unpack(data)
        return cls(length=length, value_bits=value_bits, value_limit=value_limit, cohort_cap=cohort_cap)


SETTINGS_BYTES = _WIRE.size


@final
@dataclass(frozen=True, eq=False)
class IntegerSum:
    """An opened sum: exact integers.

    Attributes:
        values: sum of the clients' encoded values, position by position; 32-bit integers if all possible
            sums fit, else 64-bit ones.
        clients: number of clients in the sum.
    """

    values: Int[np.ndarray, " values"] = field(repr=False)
    clients: int


class Rounding(ABC):
    """Decides which values between two grid points go up."""

    @abstractmethod
    def dither(self, count: int) -> UInt32[np.ndarray, " count"]:
        """What is added to the values before they are rounded down, in units of 2^-32 of a grid step."""


@final
class SystemRounding(Rounding):
    """Unbiased: up with the probability of the fraction, by fresh randomness of the operating system."""

    def dither(self, count: int) -> UInt32[np.ndarray, " count"]:
        """See `Rounding.dither`."""
        key = os.urandom(32)
        stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(4 * count))
        return np.frombuffer(stream, np.uint32)


@final
class NearestRounding(Rounding):
    """To the nearest grid point, half way down. Repeatable and biased: for evaluations to throw away."""

    def dither(self, count: int) -> UInt32[np.ndarray, " count"]:
        """See `Rounding.dither`."""
        return np.full(count, 2**31 - 1, np.uint32)


def require_encodable(update: ClippedUpdate, settings: SumSettings) -> None:
    """Refuse a vector that has no honest encoding, before anything is done with it.

    Args:
        update: the whole vector.
        settings: public constants of the sum.

    Raises:
        UsageError: wrong length or type, or a value is NaN or infinite.
    """
    values = update.values
    if values.ndim != 1 or values.size != settings.length or values.dtype.kind != "f":
        raise UsageError(
            ErrorCode.UPDATE_WRONG_SHAPE,
            f"the update is a {values.dtype} array of shape {values.shape}; "
            f"this sum takes {settings.length} floats in one dimension",
            fix="Flatten the update, and use the settings that were made for its length.",
        )
    # In pieces, so that the check of a long vector needs no second vector.
    pieces = range(0, values.size, _FINITE_CHECK_VALUES)
    if not all(np.isfinite(values[start : start + _FINITE_CHECK_VALUES]).all() for start in pieces):
        raise _not_finite()


def encode(update: ClippedUpdate, settings: SumSettings, *, rounding: Rounding) -> EncodedUpdate:
    """Clamp, scale, round, shift. Takes a whole vector or a piece of one.

    Args:
        update: finite floats.
        settings: public constants of the sum.
        rounding: `SystemRounding` for everything that counts.

    Returns:
        Integers from 0 to `settings.largest_encoded`.

    Raises:
        UsageError: a value is NaN or infinite.

    Guarantees:
        With `SystemRounding` and a value within the limit, the expectation of the encoding is exact up to
        2^-32 of a grid step and the rounding of value / limit * steps to a float64, and each value is rounded
        independently.
    """
    if not np.isfinite(update.values).all():
        raise _not_finite()
    # Fixed point with 32 binary places: all that follows the first line is exact.
    largest = settings.steps << _FRACTION_BITS
    with np.errstate(over="ignore"):  # what overflows is clamped like any other large value
        scaled = np.multiply(update.values, settings.steps_per_unit * 2.0**_FRACTION_BITS, dtype=np.float64)
    fixed = np.clip(scaled, -largest, largest, out=scaled).astype(np.int64)
    fixed += np.int64(largest)
    # A value on a grid point has fraction 0 and is never rounded up, so the limit itself cannot overflow.
    fixed += rounding.dither(fixed.size)
    fixed >>= np.int64(_FRACTION_BITS)
    return EncodedUpdate(fixed.astype(np.uint32))


def decode(total: IntegerSum, settings: SumSettings) -> Float[np.ndarray, " values"]:
    """Floats of an opened sum.

    Args:
        total: the opened sum.
        settings: public constants of the sum.

    Returns:
        The sum over clients (not the mean), float64. Off by less than one grid step for each client in it.
    """
    # In place: a long vector costs memory pages, not arithmetic.
    values = total.values.astype(np.float64)
    values -= total.clients * settings.steps
    values /= settings.steps_per_unit
    return values


def _require_range(name: str, value: int | float, low: int | float, high: int | float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise UsageError(
            ErrorCode.SUM_SETTINGS_INVALID,
            f"{name} is {value}, outside {low} to {high}",
            fix=f"Choose {name} within {low} to {high}.",
        )


def _not_finite() -> UsageError:
    return UsageError(
        ErrorCode.UPDATE_NOT_FINITE,
        "the update holds NaN or infinity",
        fix="Find the step that diverged; nothing was sent.",
    )
