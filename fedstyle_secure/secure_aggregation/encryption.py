"""BFV through `tenseal.sealapi`: encrypt under a key, add without one, open a sum.

Flows in: masked coefficients (client), encrypted updates (aggregator), sealed sums (client). Flows out: the
next of these. Never seen here: unmasked updates, floats. The aggregator's side, `BlindAdder`, has no place
for a key.

One prime q, a power-of-two plain modulus, and values in coefficients rather than slots: sums of coefficients
are all that is needed, so there are no relinearisation keys, no batching and no second prime. Encryption is
symmetric and seeded (SEAL's `encrypt_symmetric`), so that only the first polynomial and a 64-byte seed
travel. Every uploader therefore holds the secret key, and the masks, not the encryption, hide one client's
vector from another.

SEAL never parses a file of another party: it is given files written by `seal_files`, into which another
party's coefficients, each checked to be below q, and seeds are placed.

A cut of c0's low bits keeps c0 + c1 s = (q / t) m + noise up to a rounding error of half the cut, and one of
c1's up to that times the coefficients of the ternary s; `parameters` states what is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias, final

import numpy as np
import tenseal.sealapi as seal
from jaxtyping import UInt8, UInt64

from fedstyle_secure.secure_aggregation.parameters import (
    COEFFICIENT_MODULUS,
    PARAMETER_SETS,
    RING_DEGREE,
    ParameterSet,
)
from fedstyle_secure.secure_aggregation.refusals import malformed
from fedstyle_secure.secure_aggregation.seal_files import (
    SEED_BYTES,
    ScratchFile,
    SealLayout,
    seal_file_version,
    unsupported,
)
from fedstyle_secure.secure_aggregation.vectors import EncryptedUpdate, MaskedUpdate

__all__ = ["KEY_BYTES", "BfvKey", "BlindAdder", "KeyHolder", "SealedSum", "largest_cut"]

KEY_BYTES: Final = 8 * RING_DEGREE
_Q: Final = np.uint64(COEFFICIENT_MODULUS)
# q is just under 2^60, so this many values below q, plus one more of the running sum, fit into 64 bits.
_ADDITIONS_BEFORE_REDUCTION: Final = 14
_ZERO: Final = np.zeros(RING_DEGREE, np.uint64)

Words: TypeAlias = UInt64[np.ndarray, "ciphertexts coefficients"]


@final
class BfvKey:
    """A BFV secret key. Secret: printing and pickling give nothing away.

    One client of a session makes it (`generate`); the others receive it sealed.
    """

    def __init__(self, coefficients: bytes) -> None:
        self._coefficients = coefficients

    def __repr__(self) -> str:
        return "BfvKey(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a BfvKey is secret and cannot be pickled or copied")

    @classmethod
    def generate(cls) -> BfvKey:
        """Make a key from the operating system's randomness, through SEAL."""
        scheme = _Scheme(PARAMETER_SETS[0])
        seal.KeyGenerator(scheme.context).secret_key().save(scheme.scratch.path)
        coefficients = scheme.layout.coefficients_of_secret_key(scheme.scratch.read())
        scheme.scratch.wipe()
        return cls(coefficients)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> BfvKey:
        """The inverse of `to_bytes`, from bytes that another client sealed.

        Raises:
            ProtocolError: they cannot be a key.
        """
        if len(data) != KEY_BYTES or np.frombuffer(data, "<u8").max() >= _Q:
            raise malformed("what was sealed is not a decryption key")
        return cls(bytes(data))

    def to_bytes(self) -> bytes:
        """The key's coefficients. Secret."""
        return self._coefficients


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
        key: the session's key.
    """

    def __init__(self, parameters: ParameterSet, key: BfvKey) -> None:
        self._scheme = _Scheme(parameters)
        secret_key = self._scheme.load(seal.SecretKey(), self._scheme.layout.secret_key(key.to_bytes()))
        self._scheme.scratch.wipe()
        self._encryptor = seal.Encryptor(self._scheme.context, secret_key)
        self._decryptor = seal.Decryptor(self._scheme.context, secret_key)
        self._check_layout()

    def __repr__(self) -> str:
        return f"KeyHolder({self._scheme.parameters}, key hidden)"

    def encrypt(self, masked: MaskedUpdate) -> EncryptedUpdate:
        """Encrypt each row of coefficients, and cut the low bits.

        Args:
            masked: coefficients below the plain modulus.

        Returns:
            The encrypted rows, with fresh randomness of SEAL's own generator.
        """
        rows, coefficients = masked.words.shape
        c0 = np.empty((rows, coefficients), np.uint64)
        seeds = np.empty((rows, SEED_BYTES), np.uint8)
        for row in range(rows):
            polynomial, seed = self._encrypt_one(masked.words[row])
            c0[row] = np.frombuffer(polynomial, "<u8", coefficients)
            seeds[row] = np.frombuffer(seed, np.uint8)
        return EncryptedUpdate(_cut(c0, self._scheme.parameters.c0_cut_bits), seeds)

    def decrypt(self, total: SealedSum) -> Words:
        """Open a sum.

        Args:
            total: the sum, from a party that is not trusted.

        Returns:
            Coefficients below the plain modulus. Whether they mean anything is for the check words to say.

        Raises:
            ProtocolError: a coefficient is out of range.
        """
        parameters = self._scheme.parameters
        _require_cut(total.c0, parameters.c0_cut_bits, "the sum")
        _require_cut(total.c1, parameters.c1_cut_bits, "the sum")
        c0 = np.zeros_like(total.c1)
        c0[:, : total.c0.shape[1]] = _restore(total.c0, parameters.c0_cut_bits)
        c1 = _restore(total.c1, parameters.c1_cut_bits)
        words = np.stack([self._decrypt_one(c0[row], c1[row]) for row in range(len(c1))])
        return words[:, : total.c0.shape[1]]

    def _encrypt_one(self, words: UInt64[np.ndarray, " coefficients"]) -> tuple[memoryview, bytes]:
        scheme = self._scheme
        plaintext = scheme.load(seal.Plaintext(), scheme.layout.plaintext(_bytes(words)))
        self._encryptor.encrypt_symmetric(plaintext).save(scheme.scratch.path)
        return scheme.layout.parts_of_seeded_ciphertext(scheme.scratch.read())

    def _decrypt_one(
        self, c0: UInt64[np.ndarray, " degree"], c1: UInt64[np.ndarray, " degree"]
    ) -> UInt64[np.ndarray, " degree"]:
        scheme = self._scheme
        ciphertext = scheme.load(seal.Ciphertext(), scheme.layout.ciphertext(_bytes(c0), _bytes(c1)))
        plaintext = seal.Plaintext()
        self._decryptor.decrypt(ciphertext, plaintext)
        plaintext.save(scheme.scratch.path)
        saved = np.frombuffer(scheme.layout.coefficients_of_plaintext(scheme.scratch.read()), "<u8")
        words = np.zeros(RING_DEGREE, np.uint64)
        words[: saved.size] = saved
        return words

    def _check_layout(self) -> None:
        # Encrypts and opens a known polynomial through every file that this module writes and reads.
        known = np.arange(RING_DEGREE, dtype=np.uint64)
        c0, seed = self._encrypt_one(known)
        ciphertext = self._scheme.expand(np.frombuffer(c0, "<u8"), seed)
        c1 = self._scheme.second_polynomial(ciphertext)
        if not np.array_equal(self._decrypt_one(np.frombuffer(c0, "<u8"), c1), known):
            raise unsupported("does not decrypt what it has encrypted")


@final
class BlindAdder:
    """The aggregator's side: adds encrypted updates. It has no key and no way to be given one.

    Args:
        parameters: parameter set.
    """

    def __init__(self, parameters: ParameterSet) -> None:
        self._scheme = _Scheme(parameters)
        self._evaluator = seal.Evaluator(self._scheme.context)

    def add(self, updates: Iterable[EncryptedUpdate]) -> SealedSum:
        """Add the same block of several clients' vectors.

        Args:
            updates: at least one, all of the same shape, with coefficients that `largest_cut` allows. Taken
                one after the other, so that only one of them need be in memory.

        Returns:
            The sum of all.
        """
        cut_bits = self._scheme.parameters.c0_cut_bits
        c0: Words = np.zeros((0, 0), np.uint64)
        c1: list[Any] = []
        for index, update in enumerate(updates):
            if index == 0:
                c0 = np.zeros_like(update.c0)
                c1 = [self._expand(seed) for seed in update.seeds]
            else:
                for total, seed in zip(c1, update.seeds, strict=True):
                    self._evaluator.add_inplace(total, self._expand(seed))
            c0 += update.c0 << np.uint64(cut_bits)
            if index % _ADDITIONS_BEFORE_REDUCTION == _ADDITIONS_BEFORE_REDUCTION - 1:
                _reduce(c0)
        _reduce(c0)
        second = np.stack([self._scheme.second_polynomial(total) for total in c1])
        return SealedSum(_cut(c0, cut_bits), _cut(second, self._scheme.parameters.c1_cut_bits))

    def _expand(self, seed: UInt8[np.ndarray, " 64"]) -> Any:
        # The first polynomials are added outside SEAL; zeros stand in for them.
        return self._scheme.expand(_ZERO, seed.tobytes())


def largest_cut(cut_bits: int) -> int:
    """The largest value that a coefficient below q can have after its low bits are cut."""
    return (COEFFICIENT_MODULUS - 1 + _half(cut_bits)) >> cut_bits


@final
class _Scheme:
    """A SEAL context with one prime, and the files to talk to it."""

    def __init__(self, parameters: ParameterSet) -> None:
        self.parameters = parameters
        self.scratch = ScratchFile()
        choice = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        choice.set_poly_modulus_degree(RING_DEGREE)
        choice.set_coeff_modulus([seal.Modulus(COEFFICIENT_MODULUS)])
        choice.set_plain_modulus(1 << parameters.plain_bits)
        # TC128: SEAL refuses parameters that its table of the standard gives less than 128 bits of security.
        self.context = seal.SEALContext(choice, False, seal.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise unsupported(f"refuses the parameters ({self.context.parameters_error_name()})")
        parms_id = np.array(self.context.key_parms_id(), "<u8").tobytes()
        seal.Plaintext("1").save(self.scratch.path)
        self.layout = SealLayout(parms_id=parms_id, version=seal_file_version(self.scratch.read()))

    def load(self, target: Any, parts: list[Any]) -> Any:
        """Let SEAL read an object from a file that was written here."""
        self.scratch.write(parts)
        target.load(self.context, self.scratch.path)
        return target

    def expand(self, c0: UInt64[np.ndarray, " degree"], seed: bytes) -> Any:
        """A ciphertext whose second polynomial SEAL expands from the seed."""
        return self.load(seal.Ciphertext(), self.layout.seeded_ciphertext(_bytes(c0), seed))

    def second_polynomial(self, ciphertext: Any) -> UInt64[np.ndarray, " degree"]:
        """The second polynomial of a ciphertext in SEAL's hands."""
        ciphertext.save(self.scratch.path)
        return np.frombuffer(self.layout.second_polynomial(self.scratch.read()), "<u8")


def _bytes(words: UInt64[np.ndarray, " words"]) -> memoryview:
    return np.ascontiguousarray(words, "<u8").data.cast("B")


def _half(cut_bits: int) -> int:
    return (1 << cut_bits) >> 1


def _cut(words: Words, cut_bits: int) -> Words:
    return (words + np.uint64(_half(cut_bits))) >> np.uint64(cut_bits)


def _restore(words: Words, cut_bits: int) -> Words:
    restored = words << np.uint64(cut_bits)
    # Rounding up may have reached past q.
    restored[restored >= _Q] -= _Q
    return restored


def _require_cut(words: Words, cut_bits: int, whose: str) -> None:
    if words.size and words.max() > largest_cut(cut_bits):
        raise malformed(f"{whose} holds a coefficient that is not below the modulus")


def _reduce(words: Words) -> None:
    for multiple in (np.uint64(8), np.uint64(4), np.uint64(2), np.uint64(1)):
        words -= (words >= multiple * _Q) * (multiple * _Q)
