"""The exact privacy of Gaussian noise: mu, epsilon and delta.

Flows in: two of the three numbers. Flows out: the third, on the safe side. A Gaussian release of sensitivity
D and standard deviation s is exactly mu-GDP with mu = D / s, and releases compose by adding mu^2 (Dong, Roth,
Su 2019, arXiv 1905.02383, Corollary 3.3). Never seen here: data.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr, ndtri

from fedstyle_secure.privacy._checks import require_between, require_positive

__all__ = ["gaussian_delta", "gaussian_epsilon", "gaussian_mu", "gaussian_power", "gaussian_tail"]

# `gaussian_delta` differs from the true value by less than this share of it (tested against 50-digit
# arithmetic). The two inverses aim at a delta smaller by this share, so that their results are upper bounds
# of epsilon and lower bounds of mu.
_RELATIVE_ERROR = 1e-8

_FAR_TAIL = 37.0
_SMALL_MU = 1e-3


def gaussian_delta(mu: float, epsilon: float) -> float:
    """The smallest delta for which mu-GDP is (epsilon, delta)-differential privacy.

    Balle and Wang 2018 (arXiv 1805.06530), Theorem 8, in the form of Dong, Roth and Su 2019, Corollary 2.13:
    delta = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu).

    Args:
        mu: sensitivity over standard deviation, above 0.
        epsilon: at least 0.

    Returns:
        The exact delta, within a share of 1e-8.
    """
    near = epsilon / mu - mu / 2
    far = near + mu
    if near > _FAR_TAIL:
        return 0.0  # below 1e-300
    if near < -_FAR_TAIL:
        return float(ndtr(-near) - math.exp(epsilon + log_ndtr(-far)))
    # The two terms nearly cancel where delta or mu is small. Since e^epsilon phi(far) = phi(near), their
    # difference is phi(near) times a difference of Mills ratios, which keeps its digits.
    density = math.exp(-near * near / 2) / math.sqrt(2 * math.pi)
    if mu > _SMALL_MU:
        return density * (_mills_ratio(near) - _mills_ratio(far))
    # Simpson's rule over the ratio's derivative; its error is of the order of mu^4.
    return density * mu / 6 * (_mills_slope(near) + 4 * _mills_slope((near + far) / 2) + _mills_slope(far))


def _mills_ratio(x: float) -> float:
    """Phi(-x) / phi(x)."""
    return float(erfcx(x / math.sqrt(2))) * math.sqrt(math.pi / 2)


def _mills_slope(x: float) -> float:
    """How fast the Mills ratio falls."""
    return 1 - x * _mills_ratio(x)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The smallest epsilon for which mu-GDP is (epsilon, delta)-differential privacy.

    Args:
        mu: at least 0; 0 means that nothing was released.
        delta: above 0, below 1.

    Returns:
        Epsilon, never below the exact value and above it by a share of less than 1e-6.

    Raises:
        BudgetError: a parameter is out of range.
    """
    _require_delta(delta)
    if mu == 0:
        return 0.0
    require_positive("mu", mu)
    aim = delta * (1 - _RELATIVE_ERROR)

    def is_enough(epsilon: float) -> bool:
        return gaussian_delta(mu, epsilon) <= aim

    if is_enough(0.0):
        return 0.0
    # delta <= Phi(mu/2 - epsilon/mu), so the epsilon at which that equals the aim is large enough.
    ceiling = mu * (mu / 2 - float(ndtri(aim)))
    return _smallest(is_enough, 0.0, ceiling * (1 + 1e-9))


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The largest mu that (epsilon, delta) pays for.

    Args:
        epsilon: above 0.
        delta: above 0, below 1.

    Returns:
        mu, never above the exact value and below it by a share of less than 1e-6.

    Raises:
        BudgetError: a parameter is out of range.
    """
    require_positive("epsilon", epsilon)
    _require_delta(delta)
    # The inverse of `gaussian_epsilon` itself: whoever spends this mu is never told more than epsilon.
    too_much = 1.0
    while gaussian_epsilon(too_much, delta) <= epsilon:
        too_much *= 2
    inverse = _smallest(
        lambda inverse: gaussian_epsilon(1 / inverse, delta) <= epsilon, 1 / too_much, 2.0**40
    )
    return 1 / inverse


def gaussian_tail(mu: float, epsilon: float) -> float:
    """Bound how likely an observation of a mu-GDP release changes the odds by more than e^epsilon either way.

    Larger than delta, which weighs each such observation by how far it goes beyond epsilon. With L the log of
    the odds' change, and any smaller epsilon', delta(epsilon') = E[max(0, 1 - e^(epsilon' - L))] >= (1 -
    e^(epsilon' - epsilon)) P[L > epsilon]. The smallest such bound is taken; it holds for whatever is derived
    from the release, too. Changes downward are e^epsilon times rarer.

    Args:
        mu: above 0.
        epsilon: above 0.

    Returns:
        The bound, 0 to 1.
    """
    smaller = np.linspace(0.0, epsilon, 400, endpoint=False)
    upward = min(gaussian_delta(mu, e) / -math.expm1(e - epsilon) for e in smaller)
    return float(min(1.0, upward * (1 + math.exp(-epsilon))))


def gaussian_power(mu: float, false_alarm_rate: float) -> float:
    """How often the best possible test recognises a used example, given how often it accuses an unused one.

    One minus the trade-off function G_mu of Dong, Roth and Su 2019, Section 2.2.

    Args:
        mu: at least 0.
        false_alarm_rate: share of unused examples that the test calls used, above 0, below 1.

    Returns:
        Share of used examples that no test exceeds.
    """
    return float(ndtr(ndtri(false_alarm_rate) + mu))


def _require_delta(delta: float) -> None:
    # Below 1e-200 the densities leave the range of double precision.
    require_between("delta", delta, 1e-200, 1 - 1e-6)


def _smallest(is_enough: Callable[[float], bool], low: float, high: float) -> float:
    """The smallest number from which on `is_enough` holds; it must hold at `high`."""
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if is_enough(middle):
            high = middle
        else:
            low = middle
    return high
