"""What SEAL computes with ciphertexts, whichever build of SEAL does it.

Flows in: coefficients below q, seeds. Flows out: SEAL's objects, and their coefficients. Never seen here:
messages.

Everything works with tenseal alone. Its binding hands objects over as files only, and always compresses them;
seal-python, where it is installed, takes and gives bytes. Both are the same library and give the same words,
so it does not matter who uses which. Only tenseal can encrypt with a seed (see `encryption`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from jaxtyping import UInt64

from fedstyle_secure.secure_aggregation.coefficients import Words
from fedstyle_secure.secure_aggregation.parameters import ParameterSet
from fedstyle_secure.secure_aggregation.wire import Buffer

__all__ = ["SealArithmetic", "as_bytes"]


class SealArithmetic(ABC):
    """SEAL under one parameter set. Not for two threads at once, and not for a process and its fork.

    Args:
        parameters: parameter set.

    Raises:
        SetupError: the installed SEAL refuses the parameters, or is another one than this code knows.
    """

    @abstractmethod
    def __init__(self, parameters: ParameterSet) -> None: ...

    @abstractmethod
    def plaintext(self, words: UInt64[np.ndarray, " coefficients"]) -> Any:
        """A plaintext of words below the plain modulus."""

    @abstractmethod
    def ciphertext(self, polynomials: Words) -> Any:
        """A ciphertext of 2 to 16 polynomials with coefficients below q."""

    @abstractmethod
    def expand(self, c0: UInt64[np.ndarray, " degree"], seed: Buffer) -> Any:
        """A ciphertext whose second polynomial SEAL expands from the seed."""

    @abstractmethod
    def add_in_place(self, total: Any, ciphertext: Any) -> None:
        """Add a ciphertext to another one."""

    @abstractmethod
    def multiply_in_place(self, ciphertext: Any, plaintext: Any) -> None:
        """Multiply each polynomial of a ciphertext by a plaintext.

        Words of the plaintext above half of the plain modulus stand for negative numbers. The ciphertext's
        polynomials after the first must not all be zero, which SEAL refuses.
        """

    @abstractmethod
    def polynomials(self, ciphertext: Any, count: int) -> Words:
        """The polynomials of a ciphertext that has `count` of them."""

    @abstractmethod
    def forget(self) -> None:
        """Wipe what is left, outside of SEAL's objects, of what went in and came out."""


def as_bytes(words: UInt64[np.ndarray, "*shape"]) -> memoryview:
    """Words as they lie in SEAL's files."""
    return np.ascontiguousarray(words, "<u8").data.cast("B")
