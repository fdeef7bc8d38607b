"""Gaussian noise from the operating system's randomness, and adding it to a release.

Flows in: sizes, standard deviations, and in `add_noise` the clipped sum that is about to be released. Flows
out: noise, noised sums. Never used here: the global generators of numpy, torch and `random`. Experiment seeds
do not reach this module.

Floating point. The proofs of differential privacy are about real numbers; a sum of doubles has gaps, and
which doubles can come out depends on the secret sum (Mironov 2012 for Laplace noise; Jin et al., arXiv
2112.05307, for Gaussian noise and DP-SGD; Haney et al., arXiv 2207.13793, for the precision of the sum). What
is done about it:

- A draw is the inverse normal distribution function of 63 random bits and a sign, so that tails are
  fine-grained too.
- `add_noise` rounds what it releases to a grid that is public (a power of two derived from the standard
  deviation alone) and far coarser than the doubles: the rounding of Mironov's snapping mechanism, for
  Gaussian noise. A grid point within six standard deviations of a sum is reached by more than 10^8 different
  draws, so no gap tells sums apart; gaps begin beyond 8.5 standard deviations (probability 2e-17 a value).
  Rounding comes after the noise and costs no privacy; it adds at most 1/786,000 to the variance.

What is left is a shift of a grid point's borders by the error of one inverse and one addition. While a sum
stays below 1,000 standard deviations that is less than 2^-43 standard deviations (a test measures the
inverse), which changes the probability of a grid point by a share below 2^-32; over a run of 2^18 values this
adds at most about 2^-13 to epsilon. That is an estimate, not a proof, and is not part of the epsilon that is
printed: this is not the exact sampling of arXiv 2207.13793. Nothing is done about an observer who can time
the draw (arXiv 2112.05307 times discrete samplers; this one takes the same steps for every draw).
"""

from __future__ import annotations

import math
import os
import threading
from abc import ABC, abstractmethod
from typing import ClassVar, NoReturn, final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from jaxtyping import Float
from scipy.special import ndtri

from fedstyle_secure.privacy._checks import require_count, require_positive

__all__ = ["NoNoise", "NoiseSource", "SystemNoise", "add_noise"]

_KEY_BYTES = 32
_COUNTER_BYTES = 16

# A release is rounded to multiples of 2^-8 of its standard deviation, rounded down to a power of two.
_GRID_BITS = 8


class NoiseSource(ABC):
    """Something that noise is drawn from.

    Attributes:
        private: whether what is noised with it may leave.
    """

    private: ClassVar[bool]

    @abstractmethod
    def gaussian(self, size: int, *, standard_deviation: float) -> Float[np.ndarray, " size"]:
        """Draw independent Gaussian values with mean 0.

        Args:
            size: how many, at least 0.
            standard_deviation: above 0, in the unit of the values that the noise will be added to.

        Returns:
            The noise, float64.
        """


@final
class SystemNoise(NoiseSource):
    """Noise for releases: AES-256-CTR, keyed by the operating system, through the inverse normal.

    Every instance has a key of its own. A process that was forked makes itself a new key before its next
    draw, so that it never repeats its parent's noise. An instance cannot be copied or pickled. Safe to share
    between threads.

    Guarantees:
        Draws are independent and Gaussian as far as AES-256-CTR cannot be told from random, with the
        floating-point limits that the module describes. No draw is further out than 9.2 standard deviations
        (true Gaussians are, with probability 5e-20). A virtual machine that is cloned while it runs repeats
        its noise; nothing here notices that.
    """

    private = True

    def __init__(self) -> None:
        self._new_key()

    def __repr__(self) -> str:
        return "SystemNoise()"

    def __reduce__(self) -> NoReturn:
        message = "a noise source that exists twice draws the same noise twice; make a new one instead"
        raise TypeError(message)

    def gaussian(self, size: int, *, standard_deviation: float) -> Float[np.ndarray, " size"]:
        """Draw independent Gaussian values with mean 0; see `NoiseSource.gaussian`.

        Raises:
            BudgetError: the standard deviation is not finite and above 0, or the size is negative.
        """
        require_count("size", size)
        require_positive("standard_deviation", standard_deviation)
        bits = np.frombuffer(self._key_stream(8 * size), dtype=np.uint64)
        # The middle of each of 2^63 equal steps between 0 and 1/2: never 0, and its relative precision is
        # that of a double however small it is.
        lower_half = ((bits >> np.uint64(1)).astype(np.float64) + 0.5) * 2.0**-64
        magnitude = -ndtri(lower_half)
        noise: Float[np.ndarray, " size"] = np.where(bits & np.uint64(1), -magnitude, magnitude)
        noise *= standard_deviation
        return noise

    def _key_stream(self, size_bytes: int) -> bytes:
        if os.getpid() != self._process:
            self._new_key()
        with self._lock:
            return self._stream.update(bytes(size_bytes))

    def _new_key(self) -> None:
        # A key is used with one counter start only, so the start may be a constant.
        cipher = Cipher(algorithms.AES(os.urandom(_KEY_BYTES)), modes.CTR(bytes(_COUNTER_BYTES)))
        self._stream: CipherContext = cipher.encryptor()
        self._lock = threading.Lock()
        self._process = os.getpid()


@final
class NoNoise(NoiseSource):
    """Zeros, for measuring what noise costs.

    What is "noised" with it carries no guarantee and must not leave this machine.
    """

    private = False

    def gaussian(self, size: int, *, standard_deviation: float) -> Float[np.ndarray, " size"]:
        """Return zeros; see `NoiseSource.gaussian`."""
        require_count("size", size)
        require_positive("standard_deviation", standard_deviation)
        return np.zeros(size)


def add_noise(
    values: Float[np.ndarray, " values"], *, standard_deviation: float, noise: NoiseSource
) -> Float[np.ndarray, " values"]:
    """Add Gaussian noise to a vector and round the result to a public grid.

    Args:
        values: what is to be released, with a sensitivity that the caller has bounded.
        standard_deviation: of the noise on each value, above 0.
        noise: where the noise comes from.

    Returns:
        The noised values, multiples of the largest power of two that is at most 2^-8 standard deviations. Not
        rounded where `noise.private` is false.

    Raises:
        BudgetError: the standard deviation is not finite and above 0.

    Guarantees:
        For values of L2 sensitivity D the result is (D / standard_deviation)-GDP, within the limits stated by
        the module and by `SystemNoise`.
    """
    noised: Float[np.ndarray, " values"] = values + noise.gaussian(
        len(values), standard_deviation=standard_deviation
    )
    if not noise.private:
        return noised
    grid = 2.0 ** (math.floor(math.log2(standard_deviation)) - _GRID_BITS)
    # Adding 0 turns -0 into 0, whose sign would tell on which side of 0 the sum lay.
    rounded: Float[np.ndarray, " values"] = np.rint(noised / grid) * grid + 0.0
    return rounded
