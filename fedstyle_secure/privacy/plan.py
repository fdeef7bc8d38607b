"""Planning all releases of a run together, and refusing what was not planned.

Flows in: the policy's epsilon and delta, and each stage's share. Flows out: the noise multiplier of every
release, what has been spent after any of them, the guarantee. Never seen here: data. The plan is the same
whatever anybody holds.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import final

from fedstyle_secure.errors import BudgetError, ErrorCode
from fedstyle_secure.privacy._checks import require_between, require_count
from fedstyle_secure.privacy.accounting import (
    GaussianEvent,
    Neighbouring,
    epsilon_spent,
    sensitivity_in_clips,
)
from fedstyle_secure.privacy.gaussian_dp import gaussian_mu
from fedstyle_secure.privacy.guarantee import EVERYBODY, Guarantee, gaussian_guarantee

__all__ = ["BudgetPlan", "PlannedRelease", "ReleaseMeter", "plan_budget"]

_SHARES_TOLERANCE = 1e-6


@dataclass(frozen=True)
class PlannedRelease:
    """A stage's part of the budget.

    Attributes:
        share: share of mu^2, 0 to 1. Shares of mu^2 add up; shares of epsilon would not.
        count: how many releases the stage makes, each over all examples and with the same noise. 0 with a
            share of 0 leaves the stage out.
    """

    share: float
    count: int


@dataclass(frozen=True)
class BudgetPlan:
    """The noise of every release of a run, calibrated together. `plan_budget` makes it.

    Attributes:
        epsilon: what the run may spend.
        delta: at which delta.
        neighbouring: which two data sets the guarantee tells apart.
        mu: what epsilon and delta pay for: the whole run is mu-GDP.
        releases: the stages that release something.
    """

    epsilon: float
    delta: float
    neighbouring: Neighbouring
    mu: float
    releases: Mapping[str, PlannedRelease]

    def noise_multiplier(self, name: str) -> float:
        """Standard deviation of each of a stage's releases over the clip.

        Args:
            name: the stage.

        Returns:
            The noise multiplier; for "replace_one" it already allows for a sensitivity of twice the clip.

        Raises:
            BudgetError: the plan has no such stage.
        """
        planned = self._planned(name)
        return sensitivity_in_clips(self.neighbouring) * math.sqrt(planned.count / planned.share) / self.mu

    def events(self, done: Mapping[str, int]) -> tuple[GaussianEvent, ...]:
        """What was released, as the accountant wants it.

        Args:
            done: how many releases of each stage have been made.

        Raises:
            BudgetError: a stage is not in the plan, or made more releases than planned.
        """
        for name, count in done.items():
            planned = self._planned(name)
            if require_count(f"number of {name} releases", count) > planned.count:
                raise _exceeded(name, planned.count)
        return tuple(GaussianEvent(self.noise_multiplier(name), count) for name, count in done.items())

    def epsilon_after(self, done: Mapping[str, int]) -> float:
        """Epsilon that some of the releases have spent, at the plan's delta: an upper bound.

        Args:
            done: how many releases of each stage have been made.

        Returns:
            Epsilon; after the whole run at most the plan's, and at least 99.9 % of it.

        Raises:
            BudgetError: a stage is not in the plan, or made more releases than planned.
        """
        return epsilon_spent(self.events(done), delta=self.delta, neighbouring=self.neighbouring)

    def guarantee(
        self, *, unit: str = "artwork", holder: str = "artist", adversary: str = EVERYBODY
    ) -> Guarantee:
        """What the whole run promises.

        Args:
            unit: what one example is.
            holder: whose examples they are.
            adversary: against whom the noise holds. The default is right when each holder adds all of its
                noise itself.

        Returns:
            The guarantee.

        Guarantees:
            Its epsilon is an upper bound for everything that one holder releases under this plan, provided
            that every release is made once, over contributions that are clipped for each example.
        """
        return gaussian_guarantee(
            self.mu,
            delta=self.delta,
            neighbouring=self.neighbouring,
            unit=unit,
            holder=holder,
            adversary=adversary,
        )

    def _planned(self, name: str) -> PlannedRelease:
        planned = self.releases.get(name)
        if planned is None:
            raise BudgetError(
                ErrorCode.EVENT_UNKNOWN,
                f"the plan holds no release named {str(name)!r}",
                fix=f"Release only what was planned: {', '.join(sorted(map(str, self.releases)))}.",
            )
        return planned


def plan_budget(
    *,
    epsilon: float,
    delta: float,
    neighbouring: Neighbouring,
    releases: Mapping[str, PlannedRelease],
) -> BudgetPlan:
    """Calibrate all releases of a run together.

    A stage with share s of mu^2 and n releases gets the noise multiplier D sqrt(n / s) / mu, where D is the
    sensitivity in clips, so that its releases compose to sqrt(s) mu and all stages to mu (Dong, Roth, Su
    2019, Corollary 3.3).

    Args:
        epsilon: what the run may spend, above 0.
        delta: at which delta, above 0, below 1.
        neighbouring: which two data sets the guarantee tells apart.
        releases: for each stage its share and its number of releases. Shares add up to 1.

    Returns:
        The plan.

    Raises:
        BudgetError: a number is out of range, a stage has a share without releases or releases without a
            share, or the shares do not add up to 1.

    Guarantees:
        All planned releases together are (epsilon, delta)-differentially private under `neighbouring`, and
        spend at least 99.9 % of epsilon. Clips and releases may be chosen from earlier results.
    """
    mu = gaussian_mu(epsilon, delta)
    sensitivity_in_clips(neighbouring)
    kept = {name: planned for name, planned in releases.items() if _is_used(name, planned)}
    total = math.fsum(planned.share for planned in kept.values())
    if abs(total - 1) > _SHARES_TOLERANCE:
        raise BudgetError(
            ErrorCode.PRIVACY_PARAMETER_INVALID,
            f"the shares of the budget add up to {total:.6g}",
            fix="Make the shares add up to 1.",
        )
    scaled = {name: PlannedRelease(planned.share / total, planned.count) for name, planned in kept.items()}
    return BudgetPlan(epsilon=epsilon, delta=delta, neighbouring=neighbouring, mu=mu, releases=scaled)


@final
class ReleaseMeter:
    """Told before each release; refuses the one that the plan does not hold.

    It counts in memory, for one holder and one run: what earlier processes released must be given to it.

    Args:
        plan: the budget.
        done: names of the releases made before, one entry for each.

    Raises:
        BudgetError: more was released before than planned.
    """

    def __init__(self, plan: BudgetPlan, *, done: Iterable[str] = ()) -> None:
        self._plan = plan
        self._done = Counter(done)
        self._lock = threading.Lock()
        plan.events(self._done)

    @property
    def done(self) -> Mapping[str, int]:
        """How many releases of each stage were made or reserved."""
        return dict(self._done)

    @property
    def epsilon_so_far(self) -> float:
        """Epsilon spent by everything made or reserved, at the plan's delta."""
        return self._plan.epsilon_after(self._done)

    def reserve(self, name: str) -> None:
        """Count a release as made.

        Call it before the release is computed; a release that then fails stays counted.

        Args:
            name: the stage.

        Raises:
            BudgetError: the plan has no such stage, or all of its releases were made; nothing is counted
                then.
        """
        with self._lock:
            self._plan.events({**self._done, name: self._done[name] + 1})
            self._done[name] += 1


def _is_used(name: str, planned: PlannedRelease) -> bool:
    require_between(f"share of {name}", planned.share, 0.0, 1.0)
    require_count(f"number of {name} releases", planned.count)
    if (planned.share > 0) != (planned.count > 0):
        raise BudgetError(
            ErrorCode.PRIVACY_PARAMETER_INVALID,
            f"{name} has a share of {planned.share} of the budget and {planned.count} releases",
            fix="Give a stage a share and releases, or neither.",
        )
    return planned.share > 0


def _exceeded(name: str, planned: int) -> BudgetError:
    return BudgetError(
        ErrorCode.BUDGET_EXCEEDED,
        f"all {planned} planned releases of {str(name)!r} have been made",
        fix="Stop here, or plan a new run with its own budget; what was released cannot be taken back.",
    )
