"""mu, epsilon and delta against 50-digit arithmetic, numerical integration and published numbers."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy import integrate
from scipy.stats import norm

from fedstyle_secure.errors import BudgetError, ErrorCode
from fedstyle_secure.privacy.gaussian_dp import (
    gaussian_delta,
    gaussian_epsilon,
    gaussian_mu,
    gaussian_power,
    gaussian_tail,
)


def _delta_with_50_digits(mu: float, epsilon: float) -> float:
    with mpmath.workdps(50):
        m, e = mpmath.mpf(mu), mpmath.mpf(epsilon)
        return float(mpmath.ncdf(m / 2 - e / m) - mpmath.exp(e) * mpmath.ncdf(-m / 2 - e / m))


def test_delta_keeps_eight_digits_from_tiny_to_huge_mu() -> None:
    rng = np.random.default_rng(0)
    checked = 0
    for mu in 10 ** rng.uniform(-7, 2, 400):
        epsilon = max(0.0, float((rng.uniform(-45, 30) + mu / 2) * mu))
        exact = _delta_with_50_digits(mu, epsilon)
        if exact > 1e-200:
            assert gaussian_delta(mu, epsilon) == pytest.approx(exact, rel=1e-8)
            checked += 1
    assert checked > 300


@pytest.mark.parametrize(("mu", "epsilon"), [(0.5, 1.0), (1.666, 8.0), (1.666, 0.5), (4.0, 6.0)])
def test_delta_is_the_hockey_stick_divergence_of_two_gaussians(mu: float, epsilon: float) -> None:
    def excess(x: float) -> float:
        return max(0.0, norm.pdf(x - mu) - math.exp(epsilon) * norm.pdf(x))

    crossing = epsilon / mu + mu / 2
    delta, _ = integrate.quad(excess, crossing, mu + 12, epsabs=1e-15)
    assert gaussian_delta(mu, epsilon) == pytest.approx(delta, rel=1e-6)


@pytest.mark.parametrize("epsilon", [0.01, 0.5, 1.0, 8.0, 100.0])
@pytest.mark.parametrize("delta", [1e-2, 1e-5, 1e-12])
def test_mu_and_epsilon_are_inverse_and_on_the_safe_side(epsilon: float, delta: float) -> None:
    mu = gaussian_mu(epsilon, delta)
    spent = gaussian_epsilon(mu, delta)
    assert 0.99999 * epsilon <= spent <= epsilon
    assert gaussian_epsilon(mu * 1.0001, delta) > epsilon
    assert _delta_with_50_digits(mu, spent) <= delta


def test_epsilon_of_nothing_is_zero() -> None:
    assert gaussian_epsilon(0.0, 1e-5) == 0.0
    assert gaussian_epsilon(1e-9, 1e-5) == 0.0


@pytest.mark.parametrize(("epsilon", "mu"), [(8.0, 1.666), (4.0, 0.925), (2.0, 0.502)])
def test_mu_of_the_published_table(epsilon: float, mu: float) -> None:
    assert gaussian_mu(epsilon, 1e-5) == pytest.approx(mu, abs=5e-4)


def test_tail_bounds_how_often_the_odds_change_more() -> None:
    # The privacy loss of a full Gaussian release is N(mu^2/2, mu^2); delta alone is *not* such a bound.
    for mu, epsilon, delta in [(1.666, 8.0, 1e-5), (0.502, 2.0, 1e-5), (3.0, 4.0, 0.2)]:
        likely = norm.sf(epsilon / mu - mu / 2) + norm.cdf(-epsilon / mu - mu / 2)
        assert likely <= gaussian_tail(mu, epsilon) <= 1
        assert likely > delta or epsilon == 4.0


def test_tail_holds_for_a_coarse_view_too() -> None:
    # Merging outcomes can push some of them over epsilon: the bound must hold for the merged view as well.
    mu, epsilon = 1.666, 3.0
    worst = 0.0
    for low in np.linspace(-2, 6, 161):
        for width in (0.5, 1.0, 2.0, 9.0):
            used = norm.cdf(low + width - mu) - norm.cdf(low - mu)
            unused = norm.cdf(low + width) - norm.cdf(low)
            if used > math.exp(epsilon) * unused:
                worst = max(worst, used)
    exact_view = norm.sf(epsilon / mu - mu / 2)
    assert exact_view < worst <= gaussian_tail(mu, epsilon)


def test_power_is_that_of_the_best_test() -> None:
    threshold = norm.isf(0.01)
    assert gaussian_power(1.666, 0.01) == pytest.approx(norm.sf(threshold - 1.666))
    assert gaussian_power(0.0, 0.01) == pytest.approx(0.01)


@pytest.mark.parametrize("bad", [0.0, -1e-5, 1.0, math.nan, math.inf])
def test_bad_delta_is_refused(bad: float) -> None:
    with pytest.raises(BudgetError) as error:
        gaussian_epsilon(1.0, bad)
    assert error.value.code is ErrorCode.PRIVACY_PARAMETER_INVALID


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_bad_epsilon_is_refused(bad: float) -> None:
    with pytest.raises(BudgetError):
        gaussian_mu(bad, 1e-5)
