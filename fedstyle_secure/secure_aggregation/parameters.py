"""The table of BFV parameter sets and the choice among them.

Flows in: public constants of a sum. Flows out: the cheapest parameter set that has room for it. Never seen
here: keys, values.

All sets share the ring (degree 4096) and one prime q of 60 bits. SEAL's table of the homomorphic encryption
standard allows 109 bits of q at 128-bit security and 75 bits at 192-bit security for this degree, so 60 bits
is well inside. q - 1 is divisible by 2^48: q has the roots of unity that SEAL needs, q mod 2^plain_bits is 1
for every set (a sum that wraps around the plain modulus then adds next to no noise), and one secret key
serves all sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from fedstyle_secure.secure_aggregation.encoding import SumSettings

__all__ = [
    "COEFFICIENT_MODULUS",
    "PARAMETER_SETS",
    "RING_DEGREE",
    "ParameterSet",
    "choose_parameters",
    "field_bits",
]

RING_DEGREE: Final = 4096
COEFFICIENT_MODULUS: Final = 4075 * 2**48 + 1
_MODULUS_BITS: Final = 60


@final
@dataclass(frozen=True)
class ParameterSet:
    """One way to encrypt, with the noise it was measured to leave.

    The low bits of both polynomials are cut before they travel. The cut adds a rounding error to the
    ciphertext's noise; the noise bits below include it.

    Attributes:
        cohort_cap: the largest number of ciphertexts that may be added.
        plain_bits: the plain modulus is 2 to this power.
        c0_bits: bits of a coefficient of the first polynomial that travel, 40, 48, 56 or 64 (64: none is
            cut).
        c1_bits: the same for the second polynomial of a sum. (Of an upload only its seed travels.)
        noise_bits: SEAL's remaining noise budget, in bits, of a sum of `cohort_cap` uploads, masks taken off,
            after all cuts: the least of 40 measured sums. A test measures it again and refuses less than 3.
    """

    cohort_cap: int
    plain_bits: int
    c0_bits: int
    c1_bits: int
    noise_bits: int

    @property
    def c0_cut_bits(self) -> int:
        """Low bits of the first polynomial that are cut."""
        return max(0, _MODULUS_BITS - self.c0_bits)

    @property
    def c1_cut_bits(self) -> int:
        """Low bits of the second polynomial that are cut."""
        return max(0, _MODULUS_BITS - self.c1_bits)


PARAMETER_SETS: Final = (
    ParameterSet(cohort_cap=16, plain_bits=28, c0_bits=40, c1_bits=48, noise_bits=8),
    ParameterSet(cohort_cap=16, plain_bits=40, c0_bits=48, c1_bits=56, noise_bits=4),
    ParameterSet(cohort_cap=16, plain_bits=48, c0_bits=56, c1_bits=64, noise_bits=4),
    ParameterSet(cohort_cap=64, plain_bits=30, c0_bits=40, c1_bits=48, noise_bits=5),
    ParameterSet(cohort_cap=256, plain_bits=46, c0_bits=56, c1_bits=64, noise_bits=3),
    ParameterSet(cohort_cap=1024, plain_bits=36, c0_bits=48, c1_bits=48, noise_bits=4),
    ParameterSet(cohort_cap=1024, plain_bits=44, c0_bits=56, c1_bits=56, noise_bits=4),
    ParameterSet(cohort_cap=1024, plain_bits=46, c0_bits=64, c1_bits=64, noise_bits=4),
)


def field_bits(settings: SumSettings) -> int:
    """Bits of the field that holds one value's sum over the largest cohort."""
    return (settings.cohort_cap * settings.largest_encoded).bit_length()


def choose_parameters(settings: SumSettings) -> ParameterSet:
    """The parameter set with the fewest bytes a value, upload first.

    Args:
        settings: public constants of the sum.

    Returns:
        A set whose cap and plain modulus have room for the sum. Every valid `SumSettings` has one.
    """
    bits = field_bits(settings)

    def cost(candidate: ParameterSet) -> tuple[float, float, int]:
        fields = candidate.plain_bits // bits
        up = candidate.c0_bits / fields
        return up, up + candidate.c1_bits / fields, -candidate.noise_bits

    roomy = (
        candidate
        for candidate in PARAMETER_SETS
        if candidate.cohort_cap >= settings.cohort_cap and candidate.plain_bits >= bits
    )
    return min(roomy, key=cost)
