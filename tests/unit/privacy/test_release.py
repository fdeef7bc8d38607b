"""Clipping, releasing, estimating a mean without a public count, merging."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from fedstyle_secure.errors import BudgetError, ErrorCode
from fedstyle_secure.privacy.noise import NoiseSource, NoNoise, SystemNoise
from fedstyle_secure.privacy.release import (
    ClippedSum,
    clip_rows,
    estimate_mean,
    merge_by_inverse_variance,
    noisy_sum,
    noisy_sum_and_count,
    release_sum,
)

ROWS = np.random.default_rng(0).standard_normal((20, 8))


class _Recorder(NoiseSource):
    """Remembers what it was asked for."""

    private = True

    def __init__(self) -> None:
        self.asked: list[tuple[int, float]] = []

    def gaussian(self, size: int, *, standard_deviation: float) -> np.ndarray:
        self.asked.append((size, standard_deviation))
        return np.zeros(size)


def test_long_rows_are_shortened_and_short_rows_kept() -> None:
    rows = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    clipped = clip_rows(rows, clip_norm_l2=1.0)
    np.testing.assert_allclose(clipped, [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]], rtol=1e-8)
    assert np.linalg.norm(clipped[0]) < 1.0


@pytest.mark.parametrize("size", [1e-320, 1e-170, 1e170, 1e308])
def test_squares_that_overflow_or_vanish_do_not_matter(size: float) -> None:
    clipped = clip_rows(np.full((1, 16), size), clip_norm_l2=1.0)
    assert np.linalg.norm(clipped) <= 1.0
    np.testing.assert_allclose(clipped, min(size, 0.25), rtol=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_becomes_zero_and_spoils_no_other(bad: float) -> None:
    rows = np.array([[1.0, bad], [0.3, 0.4]])
    np.testing.assert_allclose(clip_rows(rows, clip_norm_l2=1.0), [[0, 0], [0.3, 0.4]], rtol=1e-8)


def test_empty_inputs() -> None:
    assert clip_rows(np.zeros((0, 5)), clip_norm_l2=1.0).shape == (0, 5)
    assert clip_rows(np.zeros((3, 0)), clip_norm_l2=1.0).shape == (3, 0)
    alone = noisy_sum(np.zeros((0, 5)), clip_norm_l2=1.0, noise_multiplier=2.0, noise=SystemNoise())
    assert alone.shape == (5,)
    assert alone.all()


def test_the_input_is_left_alone() -> None:
    rows = ROWS * 100
    before = rows.copy()
    clip_rows(rows, clip_norm_l2=1.0)
    assert np.array_equal(rows, before)


@pytest.mark.parametrize("clip", [0.25, 1.0, 7.0])
@pytest.mark.parametrize("noise_multiplier", [0.6, 4.25])
def test_noise_has_the_multiplier_times_the_clip(clip: float, noise_multiplier: float) -> None:
    recorder = _Recorder()
    noisy_sum(ROWS, clip_norm_l2=clip, noise_multiplier=noise_multiplier, noise=recorder)
    noisy_sum_and_count(ROWS, clip_norm_l2=clip, noise_multiplier=noise_multiplier, noise=recorder)
    release_sum(ClippedSum(np.zeros(3), clip), noise_multiplier=noise_multiplier, noise=recorder)
    assert recorder.asked == [
        (8, noise_multiplier * clip),
        (9, noise_multiplier * clip),
        (3, noise_multiplier * clip),
    ]


def test_adding_one_row_changes_no_public_constant() -> None:
    recorder = _Recorder()
    for rows in (ROWS, ROWS[1:], ROWS[:0], np.tile(ROWS, (50, 1))):
        noisy_sum_and_count(rows, clip_norm_l2=1.0, noise_multiplier=2.0, noise=recorder)
    assert len(set(recorder.asked)) == 1


def test_two_releases_of_the_same_rows_differ() -> None:
    one, other = (
        noisy_sum(ROWS, clip_norm_l2=1.0, noise_multiplier=1.0, noise=SystemNoise()) for _ in range(2)
    )
    assert not np.isclose(one, other, atol=1e-3).all()


def test_without_noise_the_sum_is_that_of_the_clipped_rows() -> None:
    released = noisy_sum(ROWS, clip_norm_l2=1.5, noise_multiplier=1.0, noise=NoNoise())
    np.testing.assert_allclose(released, clip_rows(ROWS, clip_norm_l2=1.5).sum(axis=0))


def test_the_sensitivity_travels_with_the_sum() -> None:
    clipped = ClippedSum(np.zeros(3), 1.5)
    assert clipped.sensitivity_l2("add_or_remove_one") == 1.5
    assert clipped.sensitivity_l2("replace_one") == 3.0
    assert "values" not in repr(clipped)


@pytest.mark.parametrize("clip", [1.0, 0.1])
@pytest.mark.parametrize("row_norm", [None, 0.5, 4.0])
def test_mean_and_count_come_back(clip: float, row_norm: float | None) -> None:
    released = noisy_sum_and_count(
        ROWS, clip_norm_l2=clip, noise_multiplier=1.0, noise=NoNoise(), row_norm_l2=row_norm
    )
    estimate = estimate_mean(released, clip_norm_l2=clip, minimum_count=1.0, row_norm_l2=row_norm)
    expected = clip_rows(ROWS, clip_norm_l2=clip if row_norm is None else row_norm).mean(axis=0)
    assert estimate.count == pytest.approx(20, rel=1e-8)
    np.testing.assert_allclose(estimate.mean, expected, rtol=1e-7)


def test_sums_of_several_holders_are_one_sum() -> None:
    def release(rows: np.ndarray) -> np.ndarray:
        return noisy_sum_and_count(rows, clip_norm_l2=1.0, noise_multiplier=1.0, noise=NoNoise())

    estimate = estimate_mean(release(ROWS[:7]) + release(ROWS[7:]), clip_norm_l2=1.0, minimum_count=1.0)
    assert estimate.count == pytest.approx(20)
    np.testing.assert_allclose(estimate.mean, clip_rows(ROWS, clip_norm_l2=1.0).mean(axis=0))


@pytest.mark.parametrize("noisy_count", [-5.0, 0.0, 0.01, 3.9])
def test_a_small_or_negative_count_counts_as_the_floor(noisy_count: float) -> None:
    released = np.array([2.0, 0.0, 0.0, noisy_count])
    estimate = estimate_mean(released, clip_norm_l2=1.0, minimum_count=12.0)
    assert estimate.count == 12.0
    assert 0 < np.linalg.norm(estimate.mean) <= 1.0


def test_a_mean_is_never_longer_than_a_row() -> None:
    estimate = estimate_mean(
        np.array([900.0, -900.0, 1.0]), clip_norm_l2=1.0, minimum_count=1.0, row_norm_l2=0.5
    )
    assert np.linalg.norm(estimate.mean) == pytest.approx(0.5)


def test_the_angle_between_sum_and_count_is_the_best_for_long_means() -> None:
    features, radius = 64, 1.0
    released = noisy_sum_and_count(
        np.eye(1, features) * radius, clip_norm_l2=1.0, noise_multiplier=1.0, noise=NoNoise()
    )
    chosen = math.asin(released[-1])

    def error(angle: float) -> float:
        return features / math.cos(angle) ** 2 + 1 / math.sin(angle) ** 2

    assert all(error(chosen) <= error(angle) + 1e-6 for angle in np.linspace(0.05, 1.5, 200))
    assert np.linalg.norm(released) == pytest.approx(1.0)


def test_merging_weights_by_inverse_variance() -> None:
    merged = merge_by_inverse_variance(
        [np.full((2, 3), 1.0), np.full((2, 3), 4.0)], noise_multipliers=[1.0, 2.0]
    )
    np.testing.assert_allclose(merged, np.full((2, 3), (1.0 + 4.0 / 4) / (1 + 1 / 4)))
    alone = merge_by_inverse_variance([ROWS], noise_multipliers=[3.0])
    np.testing.assert_allclose(alone, ROWS)


def _bad_calls(bad: float) -> list[Callable[[], object]]:
    noise = SystemNoise()
    return [
        lambda: clip_rows(ROWS, clip_norm_l2=bad),
        lambda: noisy_sum(ROWS, clip_norm_l2=bad, noise_multiplier=1.0, noise=noise),
        lambda: noisy_sum(ROWS, clip_norm_l2=1.0, noise_multiplier=bad, noise=noise),
        lambda: noisy_sum_and_count(ROWS, clip_norm_l2=bad, noise_multiplier=1.0, noise=noise),
        lambda: noisy_sum_and_count(ROWS, clip_norm_l2=1.0, noise_multiplier=bad, noise=noise),
        lambda: noisy_sum_and_count(
            ROWS, clip_norm_l2=1.0, noise_multiplier=1.0, noise=noise, row_norm_l2=bad
        ),
        lambda: release_sum(ClippedSum(np.zeros(3), 1.0), noise_multiplier=bad, noise=noise),
        lambda: release_sum(ClippedSum(np.zeros(3), bad), noise_multiplier=1.0, noise=noise),
        lambda: estimate_mean(np.ones(3), clip_norm_l2=1.0, minimum_count=bad),
        lambda: estimate_mean(np.ones(3), clip_norm_l2=bad, minimum_count=1.0),
        lambda: merge_by_inverse_variance([ROWS], noise_multipliers=[bad]),
    ]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("call", range(len(_bad_calls(0.0))))
def test_parameters_without_a_guarantee_are_refused(bad: float, call: int) -> None:
    with pytest.raises(BudgetError) as error:
        _bad_calls(bad)[call]()
    assert error.value.code is ErrorCode.PRIVACY_PARAMETER_INVALID


def test_merging_nothing_or_without_weights_is_refused() -> None:
    for estimates, multipliers in (([], []), ([ROWS], [1.0, 2.0])):
        with pytest.raises(BudgetError):
            merge_by_inverse_variance(estimates, noise_multipliers=multipliers)


def test_shrinking_lowers_the_error_of_a_noisy_mean_and_never_lengthens_it() -> None:
    rng = np.random.default_rng(3)
    size, rows, multiplier = 32, 100, 20.0
    truth = np.full(size, 0.05)
    released = noisy_sum_and_count(
        np.tile(truth, (rows, 1)), clip_norm_l2=1.0, noise_multiplier=multiplier, noise=NoNoise()
    )
    plain_errors, shrunk_errors = [], []
    for _ in range(200):
        noisy = released + multiplier * rng.standard_normal(released.size)
        noisy[-1] = released[-1]  # the same count in both, so that only the shrinking differs
        plain = estimate_mean(noisy, clip_norm_l2=1.0, minimum_count=1.0).mean
        shrunk = estimate_mean(noisy, clip_norm_l2=1.0, minimum_count=1.0, noise_multiplier=multiplier).mean
        assert np.linalg.norm(shrunk) <= np.linalg.norm(plain)
        plain_errors.append(float(((plain - truth) ** 2).sum()))
        shrunk_errors.append(float(((shrunk - truth) ** 2).sum()))
    assert np.mean(shrunk_errors) < 0.7 * np.mean(plain_errors)


def test_a_mean_far_above_its_noise_is_hardly_shrunk() -> None:
    rows = np.tile(np.full(32, 0.1), (1000, 1))
    released = noisy_sum_and_count(rows, clip_norm_l2=1.0, noise_multiplier=1.0, noise=NoNoise())
    mean = estimate_mean(released, clip_norm_l2=1.0, minimum_count=1.0, noise_multiplier=1.0).mean
    np.testing.assert_allclose(mean, 0.1, rtol=1e-3)
