"""Secrets in shares, so that a client who drops out does not take its masks along.

Flows in: secrets of 32 bytes on their owner's side, and shares of them on the aggregator's side. Flows out:
shares, one row for each holder, and secrets again. Never seen here: names, keys of other kinds, vectors. What
travels between two holders is sealed before it leaves (see `key_exchange`).

Shamir's scheme (1979, "How to share a secret"), byte by byte, over GF(2^8) with the polynomial of AES,
x^8 + x^4 + x^3 + x + 1; SLIP-0039 uses the same field. A byte of a secret is the value at 0 of a polynomial
of degree `threshold` - 1 whose other coefficients are uniform. The holder at position h has its value at
h + 1.

Both directions are products of a public matrix and secret bytes. Those take the same steps whatever the
secrets are: no table is read at a secret place, and nothing branches on a secret.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from jaxtyping import Int64, UInt8

from fedstyle_secure.secure_aggregation.refusals import unusable

__all__ = ["MOST_HOLDERS", "SECRET_BYTES", "combine", "split"]

SECRET_BYTES: Final = 32

MOST_HOLDERS: Final = 255
"""Points of the field other than 0, which is where the secret is."""

_ORDER: Final = MOST_HOLDERS
"""Size of the field's multiplicative group, which 3 generates."""

_REDUCTION: Final = 0x1B
"""x^8 in the field."""


def split(
    secrets: UInt8[np.ndarray, "secrets 32"], *, holders: int, threshold: int
) -> UInt8[np.ndarray, "holders secrets 32"]:
    """Split secrets into shares.

    Args:
        secrets: one secret in each row. Secret.
        holders: number of shares of each secret, 2 to 255.
        threshold: how many of them bring it back, 2 to `holders`.

    Returns:
        Row h is for the holder at position h, and for nobody else but its owner. Secret.

    Raises:
        UsageError: a number is out of its range, or the secrets are not rows of 32 bytes.

    Guarantees:
        `threshold` - 1 shares of a secret, or fewer, are uniform bytes whatever the secret is, against any
        amount of computing (perfect secrecy). The randomness is the operating system's and new in each call,
        so two splits of one secret have nothing in common and their shares cannot be mixed.
    """
    _require(secrets.dtype == np.uint8 and secrets.ndim == 2, "secrets as rows of bytes")
    _require(secrets.shape[1:] == (SECRET_BYTES,), f"secrets of {SECRET_BYTES} bytes")
    _require(2 <= holders <= MOST_HOLDERS, f"{holders} holders; the range is 2 to {MOST_HOLDERS}")
    _require(2 <= threshold <= holders, f"a threshold of {threshold}; the range is 2 to {holders}")
    random = np.frombuffer(os.urandom((threshold - 1) * secrets.size), np.uint8)
    coefficients = np.concatenate([secrets.reshape(1, -1), random.reshape(threshold - 1, -1)])
    shares = _products(_vandermonde(holders, threshold), coefficients)
    return shares.reshape(holders, *secrets.shape)


def combine(
    shares: UInt8[np.ndarray, "shares secrets 32"], *, holders: Sequence[int]
) -> UInt8[np.ndarray, "secrets 32"]:
    """Bring secrets back from shares, by Lagrange interpolation at 0.

    Args:
        shares: shares of the same holders of each secret. All of them are used, so hand over as many as the
            threshold asks for: more cost more and prove nothing.
        holders: position of each row's holder, 0 to 254, all different.

    Returns:
        The secrets, in the order they were split in. Secret.

    Raises:
        UsageError: a position is out of its range or comes twice, or there is not one for each row.

    Guarantees:
        Exact if there are `threshold` shares or more of one split. Otherwise nothing is guaranteed, and no
        error tells: with fewer shares, or with a wrong one, the result is other bytes. Whoever relies on it
        checks it, for instance against a public key that was derived from the secret.
    """
    _require(shares.dtype == np.uint8 and shares.ndim == 3, "shares as one row of secrets for each holder")
    _require(shares.shape[2:] == (SECRET_BYTES,), f"shares of {SECRET_BYTES} bytes")
    _require(len(holders) == len(shares), f"{len(holders)} holders for {len(shares)} shares")
    _require(len(holders) >= 2, f"{len(holders)} shares; the least is 2")
    _require(
        all(0 <= holder < MOST_HOLDERS for holder in holders), f"holders outside 0 to {MOST_HOLDERS - 1}"
    )
    _require(len(set(holders)) == len(holders), "a holder who comes twice")
    weights = _lagrange_at_zero(np.asarray(holders, np.int64) + 1)
    return _products(weights[np.newaxis], shares.reshape(len(shares), -1)).reshape(shares.shape[1:])


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise unusable(f"secret sharing cannot work with this: {what}")


def _products(
    weights: UInt8[np.ndarray, "rows terms"], terms: UInt8[np.ndarray, "terms bytes"]
) -> UInt8[np.ndarray, "rows bytes"]:
    """The matrix product in the field, of public weights and secret terms.

    A weight is a sum of powers of x, and multiplying by x is a shift. So each term is multiplied by all eight
    powers once, and a row of the product is the exclusive-or of those that its weights name.
    """
    multiples = np.empty((len(terms), 8, terms.shape[1]), np.uint8)
    multiples[:, 0] = terms
    for power in range(1, 8):
        before = multiples[:, power - 1]
        multiples[:, power] = (before << 1) ^ ((before >> 7) * np.uint8(_REDUCTION))
    # The bytes of whole secrets are whole words.
    words = multiples.reshape(8 * len(terms), terms.shape[1]).view(np.uint64)
    named = np.unpackbits(weights, axis=1, bitorder="little").astype(np.bool_)
    product = np.empty((len(weights), words.shape[1]), np.uint64)
    for row, names in zip(product, named, strict=True):
        np.bitwise_xor.reduce(words[names], axis=0, out=row)
    return product.view(np.uint8)


@cache
def _tables() -> tuple[UInt8[np.ndarray, " 255"], Int64[np.ndarray, " 256"]]:
    """Powers of the generator 3, and logarithms (that of 0 is never used). Read at public places only."""
    powers, logarithms = np.zeros(_ORDER, np.uint8), np.zeros(_ORDER + 1, np.int64)
    value = 1
    for exponent in range(_ORDER):
        powers[exponent], logarithms[value] = value, exponent
        doubled = value << 1
        value ^= doubled ^ (0x100 | _REDUCTION) if doubled & 0x100 else doubled
    return powers, logarithms


@cache
def _vandermonde(holders: int, threshold: int) -> UInt8[np.ndarray, "holders threshold"]:
    """Powers 0 to `threshold` - 1 of the holders' points."""
    powers, logarithms = _tables()
    points = np.arange(1, holders + 1)
    matrix = powers[logarithms[points][:, np.newaxis] * np.arange(threshold) % _ORDER]
    matrix.flags.writeable = False  # it is shared by all calls
    return matrix


def _lagrange_at_zero(points: Int64[np.ndarray, " points"]) -> UInt8[np.ndarray, " points"]:
    """What each point's value counts for in the value at 0: the product of x_j / (x_j - x_i) over j != i."""
    powers, logarithms = _tables()
    quotients = logarithms[points] - logarithms[points[:, np.newaxis] ^ points]
    np.fill_diagonal(quotients, 0)
    weights: UInt8[np.ndarray, " points"] = powers[quotients.sum(axis=1) % _ORDER]
    return weights
