"""A client's side of BFV: the key, encryption through `tenseal.sealapi`, opening a sum.

Flows in: masked coefficients, sealed sums. Flows out: encrypted updates, opened coefficients. Never seen
here: unmasked updates, floats.

One prime q, a power-of-two plain modulus t, and values in coefficients rather than slots: sums of
coefficients are all that is needed, so there are no relinearisation keys, no batching and no second prime.
Encryption is symmetric and seeded (SEAL's `encrypt_zero_symmetric`, plus round(q m / t), which is what its
`encrypt_symmetric` does), so that only the first polynomial and a 64-byte seed travel. Every uploader
therefore holds the secret key, and the masks, not the encryption, hide one client's vector from another.

A sum (c0, c1) is opened as round(t / q (c0 + c1 s)) modulo t (Fan and Vercauteren 2012, section 4, Decrypt).
SEAL multiplies by s; the rest is arithmetic of single coefficients. SEAL's own `Decryptor` gives the same
words and takes more than twice as long, one ciphertext at a time; here 16 second polynomials go through one
product.

SEAL never parses a file of another party: it is given files written by `seal_files`, into which another
party's coefficients, each checked to be below q, and seeds are placed.

A cut of c0's low bits keeps c0 + c1 s = (q / t) m + noise up to a rounding error of half the cut, and one of
c1's up to that times the coefficients of the ternary s; `parameters` states what is left.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Final, NoReturn, final

import numpy as np
import tenseal.sealapi as seal
from jaxtyping import Int8, UInt8, UInt64

from fedstyle_secure.secure_aggregation.coefficients import (
    Words,
    add,
    cut,
    largest_cut,
    restore,
    scale_down,
    scale_up,
)
from fedstyle_secure.secure_aggregation.fastest_arithmetic import fastest_arithmetic
from fedstyle_secure.secure_aggregation.parameters import RING_DEGREE, ParameterSet
from fedstyle_secure.secure_aggregation.refusals import malformed, sum_mismatch
from fedstyle_secure.secure_aggregation.seal_files import (
    FEWEST_POLYNOMIALS,
    MOST_POLYNOMIALS,
    SEED_BYTES,
    unsupported,
)
from fedstyle_secure.secure_aggregation.tenseal_arithmetic import TensealArithmetic
from fedstyle_secure.secure_aggregation.vectors import EncryptedUpdate, MaskedUpdate

__all__ = ["KEY_BYTES", "BfvKey", "KeyHolder", "SealedSum"]

KEY_BYTES: Final = 32
_KEY_CONTEXT: Final = b"fedstyle-secure bfv secret key 1\0"
# Of a byte's 256 values 255 are used, so this many bytes hold RING_DEGREE coefficients except with a
# probability below 2^-1000.
_KEY_STREAM_BYTES: Final = RING_DEGREE + 512


@final
class BfvKey:
    """A BFV secret key, as the seed that it comes from. Secret: printing and pickling give nothing away.

    Args:
        seed: 32 secret bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed

    def __repr__(self) -> str:
        return "BfvKey(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a BfvKey is secret and cannot be pickled or copied")

    @classmethod
    def generate(cls) -> BfvKey:
        """Make a key from the operating system's randomness."""
        return cls(os.urandom(KEY_BYTES))

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> BfvKey:
        """The inverse of `to_bytes`, from bytes that another client sealed.

        Raises:
            ProtocolError: they cannot be a key.
        """
        if len(data) != KEY_BYTES:
            raise malformed("what was sealed is not a decryption key")
        return cls(bytes(data))

    def to_bytes(self) -> bytes:
        """The seed, 32 bytes. Secret."""
        return self._seed

    def secret_polynomial(self) -> Int8[np.ndarray, " degree"]:
        """The polynomial s that the seed stands for. Secret.

        Each coefficient is -1, 0 or 1 with equal probability, as in SEAL's own keys: of the bytes of
        SHAKE-256 over a context and the seed, those below 255, modulo 3, less 1.
        """
        stream = np.frombuffer(
            hashlib.shake_256(_KEY_CONTEXT + self._seed).digest(_KEY_STREAM_BYTES), np.uint8
        )
        return (stream[stream < 255][:RING_DEGREE] % 3).astype(np.int8) - np.int8(1)


@final
@dataclass(frozen=True, eq=False)
class SealedSum:
    """The sum of encrypted updates: what the aggregator has in the end.

    Attributes:
        c0: first polynomials, without their low bits.
        c1: second polynomials, without their low bits; always whole.
    """

    c0: Words
    c1: UInt64[np.ndarray, "ciphertexts degree"]


@final
class KeyHolder:
    """A client's side: encrypts masked updates and opens sums.

    Args:
        parameters: parameter set.
        key: the session's key. One key serves all parameter sets.

    Raises:
        SetupError: the installed SEAL works otherwise than this code knows.
    """

    def __init__(self, parameters: ParameterSet, key: BfvKey) -> None:
        self._parameters = parameters
        self._tenseal, self._arithmetic = TensealArithmetic(parameters), fastest_arithmetic(parameters)
        # -1 is t - 1 for a plaintext; SEAL takes words above t / 2 for negative numbers.
        words = key.secret_polynomial().astype(np.uint64) & np.uint64(2**parameters.plain_bits - 1)
        self._secret = self._arithmetic.plaintext(words)
        transformed = self._tenseal.plaintext(words)
        self._tenseal.evaluator.transform_to_ntt_inplace(transformed, self._tenseal.context.key_parms_id())
        # SEAL keeps a secret key as a transformed plaintext, in memory as in files.
        secret_key = self._tenseal.convert(transformed, seal.SecretKey())
        self._encryptor = seal.Encryptor(self._tenseal.context, secret_key)
        self._tenseal.forget()
        self._check_installed_seal()

    def __repr__(self) -> str:
        return f"KeyHolder({self._parameters}, key hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a KeyHolder holds a secret key and cannot be pickled or copied")

    def encrypt(self, masked: MaskedUpdate) -> EncryptedUpdate:
        """Encrypt each row of coefficients, and cut the low bits.

        Args:
            masked: coefficients below the plain modulus.

        Returns:
            The encrypted rows, with fresh randomness of SEAL's own generator.
        """
        rows, coefficients = masked.words.shape
        zeros, seeds = self._encrypt_zeros(rows)
        c0 = add(zeros[:, :coefficients], scale_up(masked.words, self._parameters.plain_bits))
        return EncryptedUpdate(cut(c0, self._parameters.c0_cut_bits), seeds)

    def decrypt(self, total: SealedSum) -> Words:
        """Open a sum.

        Args:
            total: the sum, from a party that is not trusted.

        Returns:
            Coefficients below the plain modulus. Whether they mean anything is for the tags to say.

        Raises:
            ProtocolError: MESSAGE_MALFORMED if a coefficient is out of range; SUM_MISMATCH if a second
                polynomial is zero, which no sum of encryptions has.
        """
        parameters = self._parameters
        _require_cut(total.c0, parameters.c0_cut_bits)
        _require_cut(total.c1, parameters.c1_cut_bits)
        c1 = restore(total.c1, parameters.c1_cut_bits)
        if not c1.any(axis=1).all():
            raise sum_mismatch()
        c0 = restore(total.c0, parameters.c0_cut_bits)
        opened = np.empty_like(c0)
        for first in range(0, len(c1), MOST_POLYNOMIALS):
            rows = slice(first, first + MOST_POLYNOMIALS)
            noisy = add(c0[rows], self._times_secret(c1[rows])[:, : c0.shape[1]])
            opened[rows] = scale_down(noisy, parameters.plain_bits)
        # What came out last gives the key away: it is c1 s, and c1 is public.
        self._arithmetic.forget()
        return opened

    def _encrypt_zeros(
        self, count: int
    ) -> tuple[UInt64[np.ndarray, "ciphertexts degree"], UInt8[np.ndarray, "ciphertexts 64"]]:
        # First polynomials and seeds of fresh encryptions of zero: all of an encryption but its plaintext.
        c0 = np.empty((count, RING_DEGREE), np.uint64)
        seeds = np.empty((count, SEED_BYTES), np.uint8)
        for row in range(count):
            file = self._tenseal.save(self._encryptor.encrypt_zero_symmetric())
            polynomial, seed = self._tenseal.layout.parts_of_seeded_ciphertext(file)
            c0[row] = np.frombuffer(polynomial, "<u8")
            seeds[row] = np.frombuffer(seed, np.uint8)
        return c0, seeds

    def _times_secret(
        self, polynomials: UInt64[np.ndarray, "ciphertexts degree"]
    ) -> UInt64[np.ndarray, "ciphertexts degree"]:
        # To SEAL they are the polynomials of one ciphertext, and the key a plaintext that multiplies each.
        count = len(polynomials)
        if count < FEWEST_POLYNOMIALS:
            polynomials = np.repeat(polynomials, FEWEST_POLYNOMIALS, axis=0)
        ciphertext = self._arithmetic.ciphertext(polynomials)
        self._arithmetic.multiply_in_place(ciphertext, self._secret)
        return self._arithmetic.polynomials(ciphertext, len(polynomials))[:count]

    def _check_installed_seal(self) -> None:
        # Encrypts and opens a known polynomial through every file that this package writes and reads.
        plain_bits = self._parameters.plain_bits
        known = np.arange(RING_DEGREE, dtype=np.uint64)[np.newaxis]
        c0, seeds = self._encrypt_zeros(1)
        expanded = self._arithmetic.expand(add(c0, scale_up(known, plain_bits))[0], seeds.data)
        both = self._arithmetic.polynomials(expanded, 2)
        opened = scale_down(add(both[:1], self._times_secret(both[1:])), plain_bits)
        self._arithmetic.forget()
        if not np.array_equal(opened, known):
            raise unsupported("does not decrypt what it has encrypted")


def _require_cut(words: Words, cut_bits: int) -> None:
    if words.size and words.max() > largest_cut(cut_bits):
        raise malformed("the sum holds a coefficient that is not below the modulus")
