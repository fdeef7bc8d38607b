"""What a sequence of releases has cost.

Flows in: releases as plain data, and delta. Flows out: an upper bound of epsilon. An event that is not known
here is refused. Never seen here: data, sums, noise.

Two methods, one answer. Where every event is a Gaussian on all examples, the composition is one Gaussian
release and its epsilon is known in closed form (`gaussian_dp`): exact, and fast enough to be asked after
every release. As soon as an event samples its examples, the privacy loss distribution of dp-accounting
(Koskela et al. 2020; Doroshenko et al. 2022, arXiv 2207.04380) takes over, with its pessimistic
discretisation, which makes it an upper bound. Tests hold each against the other, against Opacus' RDP and PRV
accountants and against numerical integration.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from dp_accounting import dp_event, privacy_accountant
from dp_accounting.pld import PLDAccountant

from fedstyle_secure.errors import BudgetError, ErrorCode
from fedstyle_secure.privacy._checks import require_between, require_count, require_positive
from fedstyle_secure.privacy.gaussian_dp import gaussian_epsilon

__all__ = [
    "GaussianEvent",
    "Neighbouring",
    "PoissonGaussianEvent",
    "PrivacyEvent",
    "epsilon_spent",
    "sensitivity_in_clips",
]

Neighbouring = Literal["add_or_remove_one", "replace_one"]

_RELATIONS = {
    "add_or_remove_one": privacy_accountant.NeighboringRelation.ADD_OR_REMOVE_ONE,
    "replace_one": privacy_accountant.NeighboringRelation.REPLACE_ONE,
}

# Steps of the discretised privacy loss, from coarse to fine. Each gives an upper bound; a finer one is tried
# until the bound falls by less than the stated share.
_PLD_STEPS = (1e-3, 1e-4, 1e-5)
_PLD_SETTLED = 1e-3


@dataclass(frozen=True)
class GaussianEvent:
    """Sums over *all* examples, each clipped, with Gaussian noise.

    Attributes:
        noise_multiplier: standard deviation of the noise over the clip, above 0. Always over the clip,
            whatever the neighbouring relation: what the relation does to the sensitivity is the accountant's
            business.
        count: how many such releases, at least 0. They may depend on one another's results.
    """

    noise_multiplier: float
    count: int = 1

    def __post_init__(self) -> None:
        require_positive("noise_multiplier", self.noise_multiplier)
        require_count("count", self.count)


@dataclass(frozen=True)
class PoissonGaussianEvent:
    """Sums over examples that were each drawn, independently and in secret, with a public probability.

    Attributes:
        sampling_rate: probability of each example to be drawn, 0 to 1. A public constant: a rate derived from
            how many examples there are is not covered.
        noise_multiplier: standard deviation of the noise over the clip, above 0.
        count: how many such releases, at least 0, with a fresh draw for each.
    """

    sampling_rate: float
    noise_multiplier: float
    count: int = 1

    def __post_init__(self) -> None:
        require_between("sampling_rate", self.sampling_rate, 0.0, 1.0)
        require_positive("noise_multiplier", self.noise_multiplier)
        require_count("count", self.count)


PrivacyEvent = GaussianEvent | PoissonGaussianEvent
Composition: TypeAlias = "Sequence[PrivacyEvent | Composition]"


def sensitivity_in_clips(neighbouring: Neighbouring) -> float:
    """How far one example moves a sum of clipped contributions, in clips.

    Args:
        neighbouring: the relation of the guarantee.

    Returns:
        1 for "add_or_remove_one": a contribution comes or goes. 2 for "replace_one": one goes and another
        comes, and they may point in opposite directions.

    Raises:
        BudgetError: the relation is not known.
    """
    if neighbouring == "add_or_remove_one":
        return 1.0
    if neighbouring == "replace_one":
        return 2.0
    raise BudgetError(
        ErrorCode.PRIVACY_PARAMETER_INVALID,
        f"{neighbouring!r} is no neighbouring relation that can be accounted for",
        fix="Use add_or_remove_one or replace_one.",
    )


def epsilon_spent(
    events: Composition, *, delta: float, neighbouring: Neighbouring = "add_or_remove_one"
) -> float:
    """Epsilon of a composition of releases.

    Args:
        events: releases, in any order and nesting. Every event is checked before anything is computed.
        delta: 1e-200 to 1 - 1e-6.
        neighbouring: which two data sets the guarantee tells apart.

    Returns:
        Epsilon, at least 0.

    Raises:
        BudgetError: an event is not known, or a parameter is out of range.

    Guarantees:
        The composition is (epsilon, delta)-differentially private under `neighbouring`, however the releases
        depend on one another. Exact to a share of 1e-6 where all events are `GaussianEvent`; otherwise an
        upper bound that a finer discretisation lowers by less than about a share of 1e-3. For "replace_one" a
        full sum has sensitivity 2 clips; for sampled sums dp-accounting's worst case for replacing is used.

        Edge cases: no event, or counts of 0, cost 0. A sampling rate of 0 costs 0, of 1 is a `GaussianEvent`.
    """
    sensitivity = sensitivity_in_clips(neighbouring)
    gaussian_mu_squared = 0.0
    sampled: dict[tuple[float, float], int] = {}
    for event in _flatten(events):
        if isinstance(event, GaussianEvent) or event.sampling_rate == 1:
            gaussian_mu_squared += event.count * (sensitivity / event.noise_multiplier) ** 2
        elif event.sampling_rate > 0 and event.count > 0:
            key = (event.sampling_rate, event.noise_multiplier)
            sampled[key] = sampled.get(key, 0) + event.count
    mu = math.sqrt(gaussian_mu_squared)
    if not sampled:
        return gaussian_epsilon(mu, delta)
    require_between("delta", delta, 1e-200, 1 - 1e-6)
    return _epsilon_by_pld(
        mu / sensitivity, tuple(sorted((*key, count) for key, count in sampled.items())), delta, neighbouring
    )


def _flatten(events: object) -> Iterator[PrivacyEvent]:
    known: list[PrivacyEvent] = []
    _collect(events, known)
    return iter(known)


def _collect(events: object, known: list[PrivacyEvent]) -> None:
    if isinstance(events, GaussianEvent | PoissonGaussianEvent):
        known.append(events)
    elif isinstance(events, Sequence) and not isinstance(events, str | bytes):
        for event in events:
            _collect(event, known)
    else:
        raise BudgetError(
            ErrorCode.EVENT_UNKNOWN,
            f"nobody can say what a release of kind {type(events).__name__} costs",
            fix="Describe every release as a GaussianEvent or a PoissonGaussianEvent, or leave it out.",
        )


@lru_cache(maxsize=256)
def _epsilon_by_pld(
    inverse_noise: float,
    sampled: tuple[tuple[float, float, int], ...],
    delta: float,
    neighbouring: Neighbouring,
) -> float:
    """Epsilon by privacy loss distributions; full sums are one Gaussian of noise 1/`inverse_noise`."""
    events: list[dp_event.DpEvent] = [
        dp_event.SelfComposedDpEvent(
            dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise_multiplier)), count
        )
        for rate, noise_multiplier, count in sampled
    ]
    if inverse_noise > 0:
        events.append(dp_event.GaussianDpEvent(1 / inverse_noise))
    best = math.inf
    for step in _PLD_STEPS:
        accountant = PLDAccountant(_RELATIONS[neighbouring], value_discretization_interval=step)
        accountant.compose(dp_event.ComposedDpEvent(events))
        epsilon = float(accountant.get_epsilon(delta))
        settled = epsilon > best * (1 - _PLD_SETTLED)
        best = min(best, epsilon)
        if settled:
            break
    return best
