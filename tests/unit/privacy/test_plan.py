"""Plans spend what they may and no more; the meter refuses the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise

import pytest

from fedstyle_secure.errors import BudgetError, ErrorCode, ExitCode
from fedstyle_secure.privacy.accounting import GaussianEvent, Neighbouring, epsilon_spent
from fedstyle_secure.privacy.plan import BudgetPlan, PlannedRelease, ReleaseMeter, plan_budget


class _Stage(StrEnum):
    CENTRE = "centre"
    TRAIN = "train"


RELEASES = {
    "centre": PlannedRelease(share=0.1, count=1),
    "whiten": PlannedRelease(share=0.0, count=0),
    "train": PlannedRelease(share=0.3, count=40),
    "represent": PlannedRelease(share=0.6, count=2),
}
WHOLE = {"centre": 1, "train": 40, "represent": 2}


def _plan(
    *, epsilon: float = 8.0, delta: float = 1e-5, neighbouring: Neighbouring = "add_or_remove_one"
) -> BudgetPlan:
    return plan_budget(epsilon=epsilon, delta=delta, neighbouring=neighbouring, releases=RELEASES)


@pytest.mark.parametrize("neighbouring", ["add_or_remove_one", "replace_one"])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 2.0, 4.0, 8.0, 100.0])
def test_the_whole_run_spends_at_most_epsilon_and_nearly_all_of_it(
    epsilon: float, neighbouring: Neighbouring
) -> None:
    plan = _plan(epsilon=epsilon, neighbouring=neighbouring)
    # Composed by the accountant from what is really released, not from what the plan believes.
    released = [GaussianEvent(plan.noise_multiplier(name), count) for name, count in WHOLE.items()]
    spent = epsilon_spent(released, delta=1e-5, neighbouring=neighbouring)
    assert 0.999 * epsilon <= spent <= epsilon
    assert plan.epsilon_after(WHOLE) == spent


@pytest.mark.parametrize(("epsilon", "noise_multiplier"), [(8.0, 0.600), (4.0, 1.081), (2.0, 1.994)])
def test_one_release_with_the_whole_budget(epsilon: float, noise_multiplier: float) -> None:
    plan = plan_budget(
        epsilon=epsilon,
        delta=1e-5,
        neighbouring="add_or_remove_one",
        releases={"represent": PlannedRelease(1.0, 1)},
    )
    assert plan.noise_multiplier("represent") == pytest.approx(noise_multiplier, abs=1e-3)


def test_shares_are_shares_of_mu_squared() -> None:
    plan = _plan()
    parts = {name: count / plan.noise_multiplier(name) ** 2 for name, count in WHOLE.items()}
    for name, part in parts.items():
        assert part / sum(parts.values()) == pytest.approx(RELEASES[name].share)


def test_replacing_one_needs_twice_the_noise() -> None:
    apart, replaced = _plan(), _plan(neighbouring="replace_one")
    for name in WHOLE:
        assert replaced.noise_multiplier(name) == pytest.approx(2 * apart.noise_multiplier(name))


def test_epsilon_grows_with_every_release() -> None:
    plan = _plan()
    spent = [plan.epsilon_after({"centre": 1, "train": rounds}) for rounds in range(41)]
    assert plan.epsilon_after({}) == 0.0
    assert all(before < after for before, after in pairwise(spent))
    assert spent[-1] < plan.epsilon_after(WHOLE)


def test_the_guarantee_is_that_of_the_whole_run() -> None:
    plan = _plan(epsilon=2.0, neighbouring="replace_one")
    guarantee = plan.guarantee()
    assert guarantee.epsilon == plan.epsilon_after(WHOLE)
    assert (guarantee.delta, guarantee.neighbouring, guarantee.unit) == (1e-5, "replace_one", "artwork")


def test_names_may_be_members_of_an_enumeration() -> None:
    plan = _plan()
    meter = ReleaseMeter(plan, done=[_Stage.CENTRE])
    meter.reserve(_Stage.TRAIN)
    assert meter.done == {"centre": 1, "train": 1}
    assert plan.noise_multiplier(_Stage.TRAIN) == plan.noise_multiplier("train")


def test_planning_and_following_a_run_is_quick() -> None:
    start = time.perf_counter()
    plan = _plan()
    for rounds in range(41):
        plan.epsilon_after({"centre": 1, "train": rounds})
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    ("releases", "part"),
    [
        ({"a": PlannedRelease(0.5, 1)}, "add up to 0.5"),
        ({"a": PlannedRelease(0.6, 1), "b": PlannedRelease(0.6, 1)}, "add up to 1.2"),
        ({}, "add up to 0"),
        ({"a": PlannedRelease(1.0, 0)}, "0 releases"),
        ({"a": PlannedRelease(1.0, 1), "b": PlannedRelease(0.0, 3)}, "3 releases"),
        ({"a": PlannedRelease(-0.1, 1), "b": PlannedRelease(1.1, 1)}, "share of"),
        ({"a": PlannedRelease(1.0, -1)}, "number of a releases"),
    ],
)
def test_plans_that_do_not_add_up_are_refused(releases: dict[str, PlannedRelease], part: str) -> None:
    with pytest.raises(BudgetError, match=part) as error:
        plan_budget(epsilon=1.0, delta=1e-5, neighbouring="add_or_remove_one", releases=releases)
    assert error.value.code is ErrorCode.PRIVACY_PARAMETER_INVALID


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 1e-5), (-1.0, 1e-5), (1.0, 0.0), (1.0, 1.0)])
def test_budgets_that_mean_nothing_are_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(BudgetError):
        _plan(epsilon=epsilon, delta=delta)


def test_unknown_neighbouring_relation_is_refused() -> None:
    with pytest.raises(BudgetError, match="neighbouring"):
        _plan(neighbouring="artist")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["whiten", "photograph"])
def test_stages_outside_the_plan_are_refused_by_name(name: str) -> None:
    plan = _plan()
    for ask in (
        lambda: plan.noise_multiplier(name),
        lambda: plan.epsilon_after({name: 1}),
        lambda: ReleaseMeter(plan).reserve(name),
        lambda: ReleaseMeter(plan, done=[name]),
    ):
        with pytest.raises(BudgetError, match=name) as error:
            ask()
        assert error.value.code is ErrorCode.EVENT_UNKNOWN


def test_the_meter_lets_the_plan_through_and_nothing_more() -> None:
    plan = _plan()
    meter = ReleaseMeter(plan)
    for name, count in WHOLE.items():
        for _ in range(count):
            meter.reserve(name)
    assert meter.done == WHOLE
    assert meter.epsilon_so_far == plan.epsilon_after(WHOLE) <= 8.0
    for name in WHOLE:
        with pytest.raises(BudgetError, match=name) as error:
            meter.reserve(name)
        assert error.value.code is ErrorCode.BUDGET_EXCEEDED
        assert error.value.exit_code is ExitCode.BUDGET
    assert meter.done == WHOLE


def test_the_meter_continues_where_an_earlier_process_stopped() -> None:
    meter = ReleaseMeter(_plan(), done=["centre", *["train"] * 39])
    meter.reserve("train")
    with pytest.raises(BudgetError):
        meter.reserve("train")
    with pytest.raises(BudgetError) as error:
        ReleaseMeter(_plan(), done=["centre", "centre"])
    assert error.value.code is ErrorCode.BUDGET_EXCEEDED


def test_epsilon_of_more_than_planned_is_refused() -> None:
    with pytest.raises(BudgetError) as error:
        _plan().epsilon_after({"train": 41})
    assert error.value.code is ErrorCode.BUDGET_EXCEEDED


def test_threads_together_get_no_more_than_planned() -> None:
    class _Slow(BudgetPlan):
        def events(self, done: Mapping[str, int]) -> tuple[GaussianEvent, ...]:
            time.sleep(0.0005)  # whoever checks without a lock is overtaken here
            return super().events(done)

    meter = ReleaseMeter(_Slow(**vars(_plan())))
    refused: list[BudgetError] = []

    def take() -> None:
        for _ in range(10):
            try:
                meter.reserve("train")
            except BudgetError as error:
                refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.done == {"train": 40}
    assert len(refused) == 40
