"""SEAL's arithmetic through `tenseal.sealapi`, over files in memory.

Flows in: a parameter set; coefficients and seeds. Flows out: SEAL's objects, and what they hold. Never seen
here: how keys are made, messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import tenseal.sealapi as seal
from jaxtyping import UInt64

from fedstyle_secure.secure_aggregation.coefficients import Words
from fedstyle_secure.secure_aggregation.parameters import COEFFICIENT_MODULUS, RING_DEGREE, ParameterSet
from fedstyle_secure.secure_aggregation.seal_arithmetic import SealArithmetic, as_bytes
from fedstyle_secure.secure_aggregation.seal_files import (
    ScratchFile,
    SealLayout,
    seal_file_version,
    unsupported,
)
from fedstyle_secure.secure_aggregation.wire import Buffer

__all__ = ["TensealArithmetic"]


@final
class TensealArithmetic(SealArithmetic):
    """See `SealArithmetic`.

    Attributes:
        context: SEAL's context.
        evaluator: SEAL's operations on ciphertexts and plaintexts.
        layout: how SEAL's files look.
    """

    def __init__(self, parameters: ParameterSet) -> None:
        self._scratch = ScratchFile()
        choice = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        choice.set_poly_modulus_degree(RING_DEGREE)
        choice.set_coeff_modulus([seal.Modulus(COEFFICIENT_MODULUS)])
        choice.set_plain_modulus(1 << parameters.plain_bits)
        # TC128: SEAL refuses parameters that its table of the standard gives less than 128 bits of security.
        self.context = seal.SEALContext(choice, False, seal.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise unsupported(f"refuses the parameters ({self.context.parameters_error_name()})")
        self.evaluator = seal.Evaluator(self.context)
        parms_id = np.array(self.context.key_parms_id(), "<u8").tobytes()
        version = seal_file_version(self.save(seal.Plaintext("1")))
        self.layout = SealLayout(parms_id=parms_id, version=version)

    def save(self, source: Any) -> bytes:
        """Let SEAL write an object; returns the file."""
        source.save(self._scratch.path)
        return self._scratch.read()

    def convert(self, source: Any, target: Any) -> Any:
        """Let SEAL write one object and read it as another that has the same layout; returns that."""
        source.save(self._scratch.path)
        target.load(self.context, self._scratch.path)
        return target

    def plaintext(self, words: UInt64[np.ndarray, " coefficients"]) -> Any:
        """See `SealArithmetic`."""
        return self._load(seal.Plaintext(), self.layout.plaintext(as_bytes(words)))

    def ciphertext(self, polynomials: Words) -> Any:
        """See `SealArithmetic`."""
        return self._load(seal.Ciphertext(), self.layout.ciphertext(as_bytes(polynomials)))

    def expand(self, c0: UInt64[np.ndarray, " degree"], seed: Buffer) -> Any:
        """See `SealArithmetic`."""
        return self._load(seal.Ciphertext(), self.layout.seeded_ciphertext(as_bytes(c0), seed))

    def add_in_place(self, total: Any, ciphertext: Any) -> None:
        """See `SealArithmetic`."""
        self.evaluator.add_inplace(total, ciphertext)

    def multiply_in_place(self, ciphertext: Any, plaintext: Any) -> None:
        """See `SealArithmetic`."""
        self.evaluator.multiply_plain_inplace(ciphertext, plaintext)

    def polynomials(self, ciphertext: Any, count: int) -> Words:
        """See `SealArithmetic`."""
        held = np.frombuffer(self.layout.polynomials(self.save(ciphertext), count), "<u8")
        return held.reshape(count, RING_DEGREE)

    def forget(self) -> None:
        """See `SealArithmetic`."""
        self._scratch.wipe()

    def _load(self, target: Any, parts: Sequence[Buffer]) -> Any:
        self._scratch.write(parts)
        target.load(self.context, self._scratch.path)
        return target
