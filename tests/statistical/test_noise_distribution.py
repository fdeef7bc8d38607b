"""The noise is Gaussian of the right spread, and a wrong one is noticed.

Every test of the noise accepts true noise with probability 1 - 1e-6, and is shown to reject 0.67 and 1.5
times the spread.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from fedstyle_secure.privacy.noise import NoiseSource, SystemNoise, add_noise

ALPHA = 1e-6
DRAWS = 200_000


def _kolmogorov_smirnov(values: np.ndarray) -> float:
    return float(stats.kstest(values, "norm").pvalue)


def _variance(values: np.ndarray) -> float:
    total = float(np.sum(values**2))
    return 2 * min(stats.chi2.cdf(total, len(values)), stats.chi2.sf(total, len(values)))


def _equal_bins(values: np.ndarray) -> float:
    edges = stats.norm.ppf(np.linspace(0, 1, 65))
    return float(stats.chisquare(np.histogram(values, edges)[0]).pvalue)


def _tails(values: np.ndarray) -> float:
    """Whether as many values as should be lie beyond 3.5 standard deviations."""
    return float(
        stats.binomtest(int(np.sum(np.abs(values) > 3.5)), len(values), 2 * stats.norm.sf(3.5)).pvalue
    )


TESTS = [_kolmogorov_smirnov, _variance, _equal_bins, _tails]


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("standard_deviation", [1.0, 1e-4, 4.25])
def test_the_right_spread_is_accepted(test: Callable[[np.ndarray], float], standard_deviation: float) -> None:
    drawn = SystemNoise().gaussian(DRAWS, standard_deviation=standard_deviation)
    assert test(drawn / standard_deviation) > ALPHA


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("wrong", [0.67, 1.5])
def test_a_wrong_spread_is_rejected(test: Callable[[np.ndarray], float], wrong: float) -> None:
    drawn = SystemNoise().gaussian(DRAWS, standard_deviation=wrong)
    assert test(drawn) < ALPHA


@pytest.mark.parametrize("test", TESTS[:3])
def test_rounding_to_the_grid_does_not_show_in_the_spread(test: Callable[[np.ndarray], float]) -> None:
    # A sum off the grid; the rounding's share of the variance is at most 1/786,000. Rounding leaves some
    # 2,000 different values, so uniform noise of one grid step is put back for the test of distribution.
    released = add_noise(np.full(DRAWS, 0.1234567), standard_deviation=1.0, noise=SystemNoise())
    spread = np.random.default_rng(0).uniform(-(2.0**-9), 2.0**-9, DRAWS)
    assert test(released - 0.1234567 + spread) > ALPHA


def test_far_tails_are_there() -> None:
    noise, beyond, draws = SystemNoise(), 0, 4_000_000
    for _ in range(4):
        beyond += int(np.sum(np.abs(noise.gaussian(draws // 4, standard_deviation=1.0)) > 4.5))
    expected = draws * 2 * stats.norm.sf(4.5)  # 27
    assert stats.poisson.ppf(ALPHA / 2, expected) <= beyond <= stats.poisson.isf(ALPHA / 2, expected)


def test_instances_and_successive_draws_are_uncorrelated() -> None:
    one, other = SystemNoise(), SystemNoise()
    first, second = (one.gaussian(DRAWS, standard_deviation=1.0) for _ in range(2))
    third = other.gaussian(DRAWS, standard_deviation=1.0)
    bound = stats.norm.isf(ALPHA / 2) / np.sqrt(DRAWS)
    for a, b in [(first, second), (first, third), (first[:-1], first[1:]), (first**2 - 1, third**2 - 1)]:
        # The product of two independent standardised values has standard deviation 1 (2 for the squares).
        scale = 2.0 if (a**2).mean() > 1.5 else 1.0
        assert abs(np.mean(a * b)) < scale * bound * 1.05


def test_signs_and_magnitudes_are_independent() -> None:
    drawn = SystemNoise().gaussian(DRAWS, standard_deviation=1.0)
    table = np.histogram2d(
        drawn > 0, np.abs(drawn), bins=[2, stats.halfnorm.ppf(np.linspace(0, 0.9999, 17))]
    )[0]
    assert stats.chi2_contingency(table).pvalue > ALPHA


def test_the_tests_accept_what_is_surely_gaussian() -> None:
    """The tests themselves: numpy's Gaussian passes all of them at a fixed seed."""

    class _Numpy(NoiseSource):
        private = False

        def gaussian(self, size: int, *, standard_deviation: float) -> np.ndarray:
            return np.random.default_rng(7).normal(0, standard_deviation, size)

    drawn = _Numpy().gaussian(DRAWS, standard_deviation=1.0)
    assert all(test(drawn) > 1e-3 for test in TESTS)
