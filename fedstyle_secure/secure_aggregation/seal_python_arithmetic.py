"""SEAL's arithmetic through seal-python, an optional accelerator: the same words as tenseal's, sooner.

Flows in: a parameter set; coefficients and seeds. Flows out: SEAL's objects, and what they hold. Never seen
here: messages.

Importing this module fails where seal-python 4.4 is not installed (extra `fast`), also if the module named
seal is something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from jaxtyping import UInt64
from seal import (
    Ciphertext,
    EncryptionParameters,
    Evaluator,
    Modulus,
    Plaintext,
    SEALContext,
    compr_mode_type,
    scheme_type,
    sec_level_type,
)

from fedstyle_secure.secure_aggregation.coefficients import Words
from fedstyle_secure.secure_aggregation.parameters import COEFFICIENT_MODULUS, RING_DEGREE, ParameterSet
from fedstyle_secure.secure_aggregation.seal_arithmetic import SealArithmetic, as_bytes
from fedstyle_secure.secure_aggregation.seal_files import SealLayout, seal_file_version, unsupported
from fedstyle_secure.secure_aggregation.wire import Buffer

__all__ = ["SealPythonArithmetic"]

if not hasattr(Ciphertext, "load_bytes"):
    raise ImportError("seal-python is older than 4.4 and reads files only")


@final
class SealPythonArithmetic(SealArithmetic):
    """See `SealArithmetic`. Nothing goes through files, so there is nothing to forget."""

    def __init__(self, parameters: ParameterSet) -> None:
        choice = EncryptionParameters(scheme_type.bfv)
        choice.set_poly_modulus_degree(RING_DEGREE)
        choice.set_coeff_modulus([Modulus(COEFFICIENT_MODULUS)])
        choice.set_plain_modulus(1 << parameters.plain_bits)
        self._context = SEALContext(choice, False, sec_level_type.tc128)
        if not self._context.parameters_set():
            raise unsupported(f"refuses the parameters ({self._context.parameter_error_name()})")
        self._evaluator = Evaluator(self._context)
        self._layout = SealLayout(
            parms_id=np.array(self._context.first_parms_id(), "<u8").tobytes(),
            version=seal_file_version(Plaintext("1").to_bytes(compr_mode_type.none)),
        )

    def plaintext(self, words: UInt64[np.ndarray, " coefficients"]) -> Any:
        """See `SealArithmetic`."""
        return self._load(Plaintext(), self._layout.plaintext(as_bytes(words)))

    def ciphertext(self, polynomials: Words) -> Any:
        """See `SealArithmetic`."""
        return self._load(Ciphertext(), self._layout.ciphertext(as_bytes(polynomials)))

    def expand(self, c0: UInt64[np.ndarray, " degree"], seed: Buffer) -> Any:
        """See `SealArithmetic`."""
        return self._load(Ciphertext(), self._layout.seeded_ciphertext(as_bytes(c0), seed))

    def add_in_place(self, total: Any, ciphertext: Any) -> None:
        """See `SealArithmetic`."""
        self._evaluator.add_inplace(total, ciphertext)

    def multiply_in_place(self, ciphertext: Any, plaintext: Any) -> None:
        """See `SealArithmetic`."""
        self._evaluator.multiply_plain_inplace(ciphertext, plaintext)

    def polynomials(self, ciphertext: Any, count: int) -> Words:
        """See `SealArithmetic`."""
        file = ciphertext.to_string(compr_mode_type.none)
        return np.frombuffer(self._layout.polynomials(file, count), "<u8").reshape(count, RING_DEGREE)

    def forget(self) -> None:
        """See `SealArithmetic`."""

    def _load(self, target: Any, parts: Sequence[Buffer]) -> Any:
        target.load_bytes(self._context, b"".join(parts))
        return target
