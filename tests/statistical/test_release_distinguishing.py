"""An observer plays against the real releases: was the canary in?

For a release of mu-GDP the best test is a threshold on the projection onto the canary's contribution, and it
wins with probability Phi(mu / 2). Over many games an honest release cannot be told from that, and a release
with half the noise, no clip or reused noise is caught. Bounds are Clopper-Pearson at 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor, nn

from fedstyle_secure.privacy.noise import NoiseSource, SystemNoise
from fedstyle_secure.privacy.release import (
    ClippedSum,
    clip_rows,
    noisy_sum,
    noisy_sum_and_count,
    release_sum,
)
from fedstyle_secure.privacy.training import PerExampleGradient

ALPHA = 1e-6
GAMES = 4000
SIZE = 5
NOISE_MULTIPLIER = 1.0

OTHERS = np.random.default_rng(3).standard_normal((7, SIZE))
CANARY = 100 * np.eye(1, SIZE)

Release = Callable[[np.ndarray], np.ndarray]


class _Halved(NoiseSource):
    """Noise with half of the spread that was asked for."""

    private = True

    def __init__(self) -> None:
        self._noise = SystemNoise()

    def gaussian(self, size: int, *, standard_deviation: float) -> Float[np.ndarray, " size"]:
        return self._noise.gaussian(size, standard_deviation=standard_deviation / 2)


class _Reused(NoiseSource):
    """The same noise again and again, as under a fixed seed."""

    private = True

    def __init__(self) -> None:
        self._kept = SystemNoise().gaussian(1000, standard_deviation=1.0)

    def gaussian(self, size: int, *, standard_deviation: float) -> Float[np.ndarray, " size"]:
        return self._kept[:size] * standard_deviation


def _sum(noise: NoiseSource) -> Release:
    return lambda rows: noisy_sum(rows, clip_norm_l2=1.0, noise_multiplier=NOISE_MULTIPLIER, noise=noise)


def _sum_and_count(noise: NoiseSource) -> Release:
    return lambda rows: noisy_sum_and_count(
        rows, clip_norm_l2=1.0, noise_multiplier=NOISE_MULTIPLIER, noise=noise
    )


def _gradient(noise: NoiseSource) -> Release:
    torch.manual_seed(0)
    module = nn.Linear(SIZE, 2, bias=False)
    gradient = PerExampleGradient(module, clip_norm_l2=1.0)

    def loss(outputs: Tensor) -> Tensor:
        return outputs.sum(dim=1)

    def release(rows: np.ndarray) -> np.ndarray:
        clipped = gradient.clipped_sum(loss, torch.from_numpy(rows))
        return release_sum(clipped, noise_multiplier=NOISE_MULTIPLIER, noise=noise)

    return release


def _unclipped(noise: NoiseSource) -> Release:
    return lambda rows: release_sum(
        ClippedSum(rows.sum(axis=0), 1.0), noise_multiplier=NOISE_MULTIPLIER, noise=noise
    )


def _wins(release: Release, expected: Release, *, games: int = GAMES) -> int:
    """How often the best test, which knows everything but the coin, guesses it from one release."""
    without, with_canary = expected(OTHERS), expected(np.vstack([OTHERS, CANARY]))
    direction = with_canary - without
    threshold = direction @ (without + with_canary) / 2
    coins = np.random.default_rng().random(games) < 0.5
    guesses = [
        direction @ release(np.vstack([OTHERS, CANARY]) if coin else OTHERS) > threshold for coin in coins
    ]
    return int(np.sum(np.array(guesses) == coins))


class _Silent(NoiseSource):
    private = False

    def gaussian(self, size: int, *, standard_deviation: float) -> Float[np.ndarray, " size"]:
        return np.zeros(size)


def _interval(wins: int, games: int = GAMES) -> tuple[float, float]:
    result = stats.binomtest(wins, games).proportion_ci(1 - ALPHA, method="exact")
    return float(result.low), float(result.high)


@pytest.mark.parametrize("make", [_sum, _sum_and_count, _gradient])
def test_an_honest_release_is_as_private_as_stated_and_no_more_noisy(
    make: Callable[[NoiseSource], Release],
) -> None:
    low, high = _interval(_wins(make(SystemNoise()), make(_Silent())))
    # The canary's contribution is as long as the clip, so that the bound is met, not only kept.
    assert low <= stats.norm.cdf(0.5 / NOISE_MULTIPLIER) <= high


@pytest.mark.parametrize("make", [_sum, _sum_and_count, _gradient])
def test_half_the_noise_is_caught(make: Callable[[NoiseSource], Release]) -> None:
    low, _ = _interval(_wins(make(_Halved()), make(_Silent())))
    assert low > stats.norm.cdf(0.5 / NOISE_MULTIPLIER)


def test_a_missing_clip_is_caught() -> None:
    low, _ = _interval(_wins(_unclipped(SystemNoise()), _unclipped(_Silent()), games=500), 500)
    assert low > 0.9 > stats.norm.cdf(0.5 / NOISE_MULTIPLIER)


@pytest.mark.parametrize("make", [_sum, _gradient])
def test_reused_noise_is_caught_by_comparing_two_releases(make: Callable[[NoiseSource], Release]) -> None:
    def differs(noise: NoiseSource) -> bool:
        release = make(noise)
        return bool(np.abs(release(np.vstack([OTHERS, CANARY])) - release(OTHERS)).max() > 1.01)

    assert not any(differs(_Reused()) for _ in range(20))  # the difference of the sums is bare
    assert sum(differs(SystemNoise()) for _ in range(20)) > 10


@pytest.mark.parametrize("make", [_sum, _sum_and_count, _gradient])
def test_the_released_noise_has_the_stated_spread(make: Callable[[NoiseSource], Release]) -> None:
    release, bare = make(SystemNoise()), make(_Silent())(OTHERS)
    noise = np.concatenate([release(OTHERS) - bare for _ in range(2000)]) / NOISE_MULTIPLIER
    assert stats.kstest(noise, "norm").pvalue > ALPHA
    for wrong in (0.67, 1.5):
        assert stats.kstest(noise * wrong, "norm").pvalue < ALPHA


def test_the_canary_is_clipped_to_the_clip() -> None:
    assert np.linalg.norm(clip_rows(CANARY, clip_norm_l2=1.0)) == pytest.approx(1.0)
