import pytest

from fedstyle_secure.errors import ArtworkError, ErrorCode
from fedstyle_secure.federation.run_plan import Exchange, Stage, plan_run

NAMES = ["ada", "bo", "cy", "dee"]


def test_exchanges_come_in_the_order_of_the_pipeline(policy):
    plan = plan_run(policy(), NAMES, public_model="m")
    assert plan.exchanges == (
        Exchange(Stage.CENTRE),
        Exchange(Stage.ANCHORS),
        Exchange(Stage.TRAIN, 1),
        Exchange(Stage.TRAIN, 2),
        Exchange(Stage.TRAIN, 3),
        Exchange(Stage.REPRESENT),
    )


def test_without_a_share_for_training_there_are_neither_anchors_nor_rounds(policy):
    plan = plan_run(
        policy(privacy__split={"centre": 0.2, "whiten": 0.0, "train": 0.0, "represent": 0.8}),
        NAMES,
        public_model="m",
    )
    assert [exchange.stage for exchange in plan.exchanges] == [Stage.CENTRE, Stage.REPRESENT]


def test_the_whole_plan_spends_the_policys_epsilon_and_no_more(policy):
    plan = plan_run(policy(), NAMES, public_model="m")
    assert 0.999 * 8.0 <= plan.epsilon_after(plan.exchanges) <= 8.0


def test_epsilon_grows_with_every_exchange(policy):
    plan = plan_run(policy(), NAMES, public_model="m")
    spent = [plan.epsilon_after(plan.exchanges[:done]) for done in range(1, len(plan.exchanges) + 1)]
    assert spent == sorted(spent)
    assert len(set(spent)) == len(spent)


def test_a_cohort_under_the_minimum_is_refused(policy):
    with pytest.raises(ArtworkError) as refused:
        plan_run(policy(), NAMES[:2], public_model="m")
    assert refused.value.code is ErrorCode.ARTWORKS_TOO_FEW_ARTISTS


def test_value_range_holds_the_largest_sum_and_the_noise(policy):
    plan = plan_run(
        policy(artworks={"minimum_per_artist": 2, "largest_collection": 50}), NAMES, public_model="m"
    )
    for stage in Stage:
        needed = 50 + 8 * plan.budget.noise_multiplier(stage)
        assert plan.sum_settings(stage).value_limit == pytest.approx(needed, rel=1e-5)
