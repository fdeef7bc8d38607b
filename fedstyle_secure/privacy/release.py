"""Releasing bounded sums: clip every contribution, add them up, add noise.

Flows in: one row for each private example. Flows out: noised sums, and what can be estimated from them. Only
clipped things are ever summed; no constant here depends on how many rows there are.

Every function speaks of the clip C. Adding or removing one example moves a clipped sum by at most C (L2),
replacing one by at most 2 C. The noise multiplier is the standard deviation over C in both cases:
`plan_budget` doubles it for "replace_one".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from fedstyle_secure.errors import BudgetError, ErrorCode
from fedstyle_secure.privacy._checks import require_positive
from fedstyle_secure.privacy.accounting import Neighbouring, sensitivity_in_clips
from fedstyle_secure.privacy.noise import NoiseSource, add_noise

__all__ = [
    "ROUNDING_MARGIN",
    "ClippedSum",
    "MeanEstimate",
    "clip_rows",
    "estimate_mean",
    "merge_by_inverse_variance",
    "noisy_sum",
    "noisy_sum_and_count",
    "release_sum",
]

# Contributions are clipped to this share of the clip, so that the rounding errors of norms and sums in double
# precision (below 1e-10 of the clip for a thousand rows) cannot carry a difference of two sums past the clip.
ROUNDING_MARGIN = 1 - 2.0**-30


@dataclass(frozen=True)
class ClippedSum:
    """A sum of clipped contributions that knows its own sensitivity.

    It carries no noise yet and must not leave.

    Attributes:
        values: the sum, float64.
        clip_norm_l2: the L2 bound that every contribution was clipped to, above 0.
    """

    values: Float[np.ndarray, " values"] = field(repr=False)
    clip_norm_l2: float

    def sensitivity_l2(self, neighbouring: Neighbouring) -> float:
        """How far one example can move the sum: 1 clip for "add_or_remove_one", 2 for "replace_one"."""
        return self.clip_norm_l2 * sensitivity_in_clips(neighbouring)


@dataclass(frozen=True)
class MeanEstimate:
    """What a noised sum and count tell about the mean.

    Attributes:
        mean: estimated mean of the clipped rows, with a norm of at most the row bound.
        count: estimated number of rows, at least the public floor.
    """

    mean: Float[np.ndarray, " features"]
    count: float


def clip_rows(
    rows: Float[np.ndarray, "rows features"], *, clip_norm_l2: float
) -> Float[np.ndarray, "rows features"]:
    """Shrink every row that is longer than the clip to the clip's length.

    Args:
        rows: one contribution for each example, any number of rows.
        clip_norm_l2: the bound, above 0.

    Returns:
        The clipped rows, float64.

    Raises:
        BudgetError: the clip is 0, negative, infinite or NaN: none of these has a guarantee.

    Guarantees:
        Every row's L2 norm is below the clip by a share of at least 9e-10, also for rows whose squares
        overflow. A row with a NaN or an infinity becomes zero, since one such value would spoil the whole
        sum. Rows do not influence one another.
    """
    require_positive("clip_norm_l2", clip_norm_l2)
    rows = np.asarray(rows, dtype=np.float64)
    finite = np.isfinite(rows).all(axis=1, keepdims=True)
    rows = np.where(finite, rows, 0.0)
    # Norms are taken relative to the largest value, whose square could overflow or vanish.
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    relative = rows / np.where(largest > 0, largest, 1.0)
    relative_norm = np.maximum(np.linalg.norm(relative, axis=1, keepdims=True), 1.0)
    bound = clip_norm_l2 * ROUNDING_MARGIN
    clipped: Float[np.ndarray, "rows features"] = relative * np.minimum(largest, bound / relative_norm)
    return clipped


def release_sum(
    clipped_sum: ClippedSum, *, noise_multiplier: float, noise: NoiseSource
) -> Float[np.ndarray, " values"]:
    """Add noise to a clipped sum; the result may leave.

    Args:
        clipped_sum: a sum of clipped contributions.
        noise_multiplier: standard deviation of the noise over the clip, above 0. For "replace_one" take the
            one that `plan_budget` gives for that relation; nothing is doubled here.
        noise: where the noise comes from.

    Returns:
        The noised sum.

    Raises:
        BudgetError: the noise multiplier is 0, negative, infinite or NaN.

    Guarantees:
        With system noise, one `GaussianEvent(noise_multiplier)`: 1/noise_multiplier-GDP for adding or
        removing one example, 2/noise_multiplier-GDP for replacing one, against whoever sees the result.
    """
    require_positive("noise_multiplier", noise_multiplier)
    return add_noise(
        clipped_sum.values, standard_deviation=noise_multiplier * clipped_sum.clip_norm_l2, noise=noise
    )


def noisy_sum(
    rows: Float[np.ndarray, "rows features"],
    *,
    clip_norm_l2: float,
    noise_multiplier: float,
    noise: NoiseSource,
) -> Float[np.ndarray, " features"]:
    """Clip every row, add the rows up, add noise.

    Args:
        rows: one contribution for each example, any number of rows, none included.
        clip_norm_l2: bound on one contribution, above 0.
        noise_multiplier: standard deviation of the noise over the clip, above 0.
        noise: where the noise comes from.

    Returns:
        The noised sum.

    Raises:
        BudgetError: a parameter has no guarantee.

    Guarantees:
        Those of `release_sum`. Without rows the result is noise alone, of the same spread.
    """
    clipped = ClippedSum(clip_rows(rows, clip_norm_l2=clip_norm_l2).sum(axis=0), clip_norm_l2)
    return release_sum(clipped, noise_multiplier=noise_multiplier, noise=noise)


def noisy_sum_and_count(
    rows: Float[np.ndarray, "rows features"],
    *,
    clip_norm_l2: float,
    noise_multiplier: float,
    noise: NoiseSource,
    row_norm_l2: float | None = None,
) -> Float[np.ndarray, " values"]:
    """Release a sum of rows together with their number, for the price of one sum.

    Each row r contributes (C cos t clip(r, R) / R, C sin t), whose joint norm is at most the clip C: a mean
    can be estimated without anybody knowing how many rows there are. The angle t is a public function of the
    row's length.

    Args:
        rows: one row for each example, any number of rows, none included.
        clip_norm_l2: C, the bound on one joint contribution and the unit of the result, above 0.
        noise_multiplier: standard deviation of the noise over C, above 0.
        noise: where the noise comes from.
        row_norm_l2: R, the bound on one row before it is scaled, above 0; the clip where not given.

    Returns:
        The noised vector, one value longer than a row. Sums of such vectors over several holders are again
        such vectors. `estimate_mean` reads it.

    Raises:
        BudgetError: a parameter has no guarantee.

    Guarantees:
        Those of `release_sum`, for sum and count together.
    """
    require_positive("clip_norm_l2", clip_norm_l2)
    row_bound = clip_norm_l2 if row_norm_l2 is None else row_norm_l2
    bounded = clip_rows(rows, clip_norm_l2=row_bound)
    cosine, sine = _sum_and_count_angle(bounded.shape[1])
    joint = np.hstack([cosine * bounded / row_bound, np.full((len(bounded), 1), sine)])
    return noisy_sum(
        clip_norm_l2 * joint, clip_norm_l2=clip_norm_l2, noise_multiplier=noise_multiplier, noise=noise
    )


def estimate_mean(
    released: Float[np.ndarray, " values"],
    *,
    clip_norm_l2: float,
    minimum_count: float,
    row_norm_l2: float | None = None,
    noise_multiplier: float = 0.0,
) -> MeanEstimate:
    """Estimate the mean and the number of rows from released sums and counts. It reads released numbers only.

    Where the spread of the noise is told, the mean is shrunk towards zero by the positive-part estimator of
    James and Stein (1961; Baranchik 1964), which in three or more dimensions has a smaller expected squared
    error than the noisy mean itself, whatever the true mean is. It costs no privacy.

    Args:
        released: what `noisy_sum_and_count` returned, or a sum of several.
        clip_norm_l2: the same as in the release.
        minimum_count: public floor of the number of rows, above 0. A noisy count below it, or a negative one,
            counts as the floor.
        row_norm_l2: the same as in the release.
        noise_multiplier: standard deviation, over the clip, of all the noise in `released`: that of one
            release times the square root of their number. 0 leaves the mean unshrunk.

    Returns:
        The estimate. A mean longer than a row can be is shortened to the row bound.

    Raises:
        BudgetError: a bound or the floor is not finite and above 0.
    """
    require_positive("clip_norm_l2", clip_norm_l2)
    require_positive("minimum_count", minimum_count)
    row_bound = clip_norm_l2 if row_norm_l2 is None else require_positive("row_norm_l2", row_norm_l2)
    cosine, sine = _sum_and_count_angle(len(released) - 1)
    count = max(float(released[-1]) / (clip_norm_l2 * sine), minimum_count)
    mean = released[:-1] * (row_bound / (clip_norm_l2 * cosine * count))
    noise_of_mean = noise_multiplier * row_bound / (cosine * count)
    mean = _shrunk(mean, noise_standard_deviation=noise_of_mean)
    return MeanEstimate(mean=clip_rows(mean[None, :], clip_norm_l2=row_bound)[0], count=count)


def _shrunk(
    mean: Float[np.ndarray, " features"], *, noise_standard_deviation: float
) -> Float[np.ndarray, " features"]:
    expected_noise = max(mean.size - 2, 0) * noise_standard_deviation**2
    energy = float(mean @ mean)
    return mean * max(0.0, 1 - expected_noise / energy) if energy > 0 else mean


def merge_by_inverse_variance(
    estimates: Sequence[Float[np.ndarray, "*shape"]], *, noise_multipliers: Sequence[float]
) -> Float[np.ndarray, "*shape"]:
    """Average independent noisy estimates of one thing, each weighted by the inverse of its noise variance.

    Of all unbiased weighted averages this has the smallest variance. It reads released numbers only and costs
    no privacy.

    Args:
        estimates: at least one array, all of one shape and in one unit.
        noise_multipliers: standard deviation of each estimate's noise, in any common unit, above 0.

    Returns:
        The merged estimate.

    Raises:
        BudgetError: there is no estimate, the numbers of both arguments differ, or a noise multiplier is not
            finite and above 0.
    """
    if not estimates or len(estimates) != len(noise_multipliers):
        raise BudgetError(
            ErrorCode.PRIVACY_PARAMETER_INVALID,
            f"{len(estimates)} estimates were to be merged with {len(noise_multipliers)} noise multipliers",
            fix="Give one noise multiplier for each estimate, and at least one estimate.",
        )
    weights = np.array([require_positive("noise_multiplier", m) for m in noise_multipliers]) ** -2.0
    merged: Float[np.ndarray, "*shape"] = np.tensordot(weights / weights.sum(), np.stack(estimates), axes=1)
    return merged


def _sum_and_count_angle(features: int) -> tuple[float, float]:
    """Cosine and sine of the angle that splits a contribution between the sum of d features and the count.

    The noise of the estimated mean is at most R sigma sqrt(d / cos^2 t + 1 / sin^2 t) / n, reached by means
    as long as R. That is smallest at sin^2 t = 1 / (1 + sqrt(d)).
    """
    sine_squared = 1 / (1 + math.sqrt(features))
    return math.sqrt(1 - sine_squared), math.sqrt(sine_squared)
