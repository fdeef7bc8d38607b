"""Epsilon of compositions against dp-accounting, Opacus' accountants and reference plans."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from typing import Any

import pytest
from dp_accounting import dp_event, privacy_accountant
from dp_accounting.pld import PLDAccountant
from opacus.accountants import PRVAccountant, RDPAccountant

from fedstyle_secure.errors import BudgetError, ErrorCode
from fedstyle_secure.privacy.accounting import (
    GaussianEvent,
    Neighbouring,
    PoissonGaussianEvent,
    epsilon_spent,
    sensitivity_in_clips,
)

DELTA = 1e-5


def _pld(event: dp_event.DpEvent, neighbouring: Neighbouring, step: float) -> float:
    relation = {
        "add_or_remove_one": privacy_accountant.NeighboringRelation.ADD_OR_REMOVE_ONE,
        "replace_one": privacy_accountant.NeighboringRelation.REPLACE_ONE,
    }[neighbouring]
    accountant = PLDAccountant(relation, value_discretization_interval=step)
    accountant.compose(event)
    return float(accountant.get_epsilon(DELTA))


def _opacus(accountant: Any, steps: list[tuple[float, float, int]], **options: float) -> float:
    accountant.history = [(noise_multiplier, rate, count) for noise_multiplier, rate, count in steps]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RDP says that its best order lies at the end of its range
        return float(accountant.get_epsilon(delta=DELTA, **options))


@pytest.mark.parametrize(("noise_multiplier", "epsilon"), [(26.4, 1), (14.1, 2), (7.66, 4), (4.25, 8)])
def test_reference_full_batch_plans(noise_multiplier: float, epsilon: float) -> None:
    assert epsilon_spent([GaussianEvent(noise_multiplier, 50)], delta=DELTA) == pytest.approx(
        epsilon, rel=0.01
    )


@pytest.mark.parametrize(("noise_multiplier", "epsilon"), [(5.51, 1), (3.08, 2), (1.82, 4), (1.15, 8)])
def test_reference_sampled_plans(noise_multiplier: float, epsilon: float) -> None:
    spent = epsilon_spent([PoissonGaussianEvent(0.2, noise_multiplier, 50)], delta=DELTA)
    assert spent == pytest.approx(epsilon, rel=0.01)


@pytest.mark.parametrize(("noise_multiplier", "epsilon"), [(0.600, 8), (1.081, 4), (1.994, 2)])
def test_reference_single_releases(noise_multiplier: float, epsilon: float) -> None:
    assert epsilon_spent([GaussianEvent(noise_multiplier)], delta=DELTA) == pytest.approx(epsilon, rel=0.01)


@pytest.mark.parametrize("neighbouring", ["add_or_remove_one", "replace_one"])
@pytest.mark.parametrize(
    ("noise_multipliers", "step"), [([14.1], 1e-4), ([1.9, 6.9, 0.77], 1e-3), ([0.3], 1e-3), ([60.0], 1e-4)]
)
def test_closed_form_agrees_with_pld_which_is_never_below(
    neighbouring: Neighbouring, noise_multipliers: list[float], step: float
) -> None:
    exact = epsilon_spent(
        [GaussianEvent(n, 7) for n in noise_multipliers], delta=DELTA, neighbouring=neighbouring
    )
    pld = _pld(
        dp_event.ComposedDpEvent(
            [dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(n), 7) for n in noise_multipliers]
        ),
        neighbouring,
        step,
    )
    assert exact * (1 - 1e-6) <= pld
    assert pld == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(
    "steps",
    [
        [(4.25, 1.0, 50)],
        [(1.15, 0.2, 50)],
        [(5.51, 0.01, 500)],
        [(2.0, 0.2, 40), (3.0, 1.0, 1), (1.9, 1.0, 2)],
    ],
)
def test_against_opacus_accountants(steps: list[tuple[float, float, int]]) -> None:
    events = [PoissonGaussianEvent(rate, noise_multiplier, count) for noise_multiplier, rate, count in steps]
    ours = epsilon_spent(events, delta=DELTA)
    prv = _opacus(PRVAccountant(), steps, eps_error=0.01)
    rdp = _opacus(RDPAccountant(), steps)
    assert ours == pytest.approx(prv, abs=0.03)  # both are upper bounds; PRV's own error is 0.01
    assert ours <= rdp


def test_training_and_prototypes_together_cost_less_than_apart() -> None:
    training = [PoissonGaussianEvent(0.2, 2.0, 50)]
    prototypes = [GaussianEvent(2.0)]
    together = epsilon_spent([*training, *prototypes], delta=DELTA)
    apart = epsilon_spent(training, delta=DELTA / 2) + epsilon_spent(prototypes, delta=DELTA / 2)
    assert max(epsilon_spent(training, delta=DELTA), epsilon_spent(prototypes, delta=DELTA)) < together
    assert together < 0.9 * apart


def test_replacing_one_costs_as_much_as_half_the_noise() -> None:
    assert sensitivity_in_clips("replace_one") == 2.0
    replaced = epsilon_spent([GaussianEvent(8.0, 30)], delta=DELTA, neighbouring="replace_one")
    assert replaced == epsilon_spent([GaussianEvent(4.0, 30)], delta=DELTA)


def test_replacing_one_when_sampled_reaches_the_full_batch_value() -> None:
    almost_all = PoissonGaussianEvent(0.999999, 8.0, 30)
    sampled = epsilon_spent([almost_all], delta=DELTA, neighbouring="replace_one")
    full = epsilon_spent([GaussianEvent(8.0, 30)], delta=DELTA, neighbouring="replace_one")
    assert sampled == pytest.approx(full, rel=1e-3)


@pytest.mark.parametrize("neighbouring", ["add_or_remove_one", "replace_one"])
def test_full_releases_keep_their_price_beside_sampled_ones(neighbouring: Neighbouring) -> None:
    full, nearly_free = GaussianEvent(8.0, 30), PoissonGaussianEvent(1e-6, 50.0)
    alone = epsilon_spent([full], delta=DELTA, neighbouring=neighbouring)
    together = epsilon_spent([full, nearly_free], delta=DELTA, neighbouring=neighbouring)
    assert alone * (1 - 1e-6) <= together <= alone * 1.01


def test_sampling_edges() -> None:
    everything = epsilon_spent([PoissonGaussianEvent(1.0, 3.0, 5)], delta=DELTA)
    assert everything == epsilon_spent([GaussianEvent(3.0, 5)], delta=DELTA)
    assert epsilon_spent([PoissonGaussianEvent(0.0, 3.0, 5)], delta=DELTA) == 0.0
    assert epsilon_spent([PoissonGaussianEvent(0.5, 3.0, 0)], delta=DELTA) == 0.0
    assert epsilon_spent([], delta=DELTA) == 0.0


def test_order_and_nesting_do_not_matter() -> None:
    one, two = GaussianEvent(2.0, 3), PoissonGaussianEvent(0.1, 1.5, 4)
    flat = epsilon_spent([one, two, two], delta=DELTA)
    assert epsilon_spent([[two, [two]], [one]], delta=DELTA) == flat
    assert epsilon_spent([one, PoissonGaussianEvent(0.1, 1.5, 8)], delta=DELTA) == flat


@dataclass(frozen=True)
class _Laplace:
    noise_multiplier: float


@pytest.mark.parametrize("stranger", [_Laplace(1.0), dp_event.GaussianDpEvent(1.0), "gaussian", None, 3.0])
def test_unknown_events_are_refused_wherever_they_hide(stranger: Any) -> None:
    for events in ([stranger], [GaussianEvent(1.0), [stranger]]):
        with pytest.raises(BudgetError) as error:
            epsilon_spent(events, delta=DELTA)
        assert error.value.code is ErrorCode.EVENT_UNKNOWN
        assert error.value.exit_code == 4


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_noise_without_a_guarantee_is_refused(bad: float) -> None:
    for make in (lambda: GaussianEvent(bad), lambda: PoissonGaussianEvent(0.5, bad)):
        with pytest.raises(BudgetError) as error:
            make()
        assert error.value.code is ErrorCode.PRIVACY_PARAMETER_INVALID


def test_other_bad_parameters_are_refused() -> None:
    with pytest.raises(BudgetError):
        PoissonGaussianEvent(1.5, 1.0)
    with pytest.raises(BudgetError):
        GaussianEvent(1.0, -1)
    with pytest.raises(BudgetError):
        GaussianEvent(1.0, 1.5)  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match="neighbouring"):
        epsilon_spent([GaussianEvent(1.0)], delta=DELTA, neighbouring="person")  # type: ignore[arg-type]
    for delta in (0.0, 1.0, -1.0):
        with pytest.raises(BudgetError):
            epsilon_spent([PoissonGaussianEvent(0.5, 1.0)], delta=delta)


def test_accounting_after_every_round_is_quick() -> None:
    start = time.perf_counter()
    for count in range(1, 51):
        epsilon_spent([GaussianEvent(6.9, count), GaussianEvent(1.9)], delta=DELTA)
    assert time.perf_counter() - start < 0.5
