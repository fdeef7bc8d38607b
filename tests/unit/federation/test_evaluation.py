import numpy as np
import pytest

from fedstyle_secure.errors import ArtworkError, ErrorCode
from fedstyle_secure.federation.evaluation import SPLITS, evaluate, evaluation_splits, split_works
from fedstyle_secure.federation.run_plan import plan_run
from fedstyle_secure.federation.session import run_session


def ids(artist, works):
    return [f"{artist} {work}".encode() for work in range(works)]


def test_every_work_is_either_trained_on_or_held_out():
    split = split_works({"ada": ids("ada", 50)}, 0)
    assert sorted([*split.train["ada"], *split.held_out["ada"]]) == list(range(50))


def test_about_a_third_is_held_out_and_splits_differ():
    work_ids = {"ada": ids("ada", 5000)}
    first, second = (set(split_works(work_ids, number).held_out["ada"]) for number in range(2))
    for held_out in (first, second):
        assert 0.27 < len(held_out) / 5000 < 0.33
    assert 0.07 < len(first & second) / 5000 < 0.11  # 0.3 squared: the splits are independent


def test_one_work_more_moves_no_other_work_between_training_and_evaluation():
    before = split_works({"ada": ids("ada", 30), "bo": ids("bo", 30)}, 3)
    after = split_works({"ada": [b"new", *ids("ada", 30)], "bo": ids("bo", 30)}, 3)
    assert {place - 1 for place in after.held_out["ada"] if place} == set(before.held_out["ada"])
    np.testing.assert_array_equal(after.held_out["bo"], before.held_out["bo"])


def test_too_few_works_are_refused_before_anything_runs():
    with pytest.raises(ArtworkError) as refused:
        evaluation_splits({"ada": ids("ada", 1)})
    assert refused.value.code is ErrorCode.ARTWORKS_TOO_FEW_WORKS


def test_clear_styles_are_found_and_no_style_is_not(policy, features):
    clear = features(works=20)
    rng = np.random.default_rng(5)
    noise = {artist: rng.standard_normal(works.shape) for artist, works in clear.items()}
    scores = {}
    for name, works in (("clear", clear), ("noise", noise)):
        plan = plan_run(policy(), list(works), public_model="test")
        splits = evaluation_splits({artist: ids(artist, 20) for artist in works})
        train = {artist: works[artist][splits[0].train[artist]] for artist in works}
        runs = []
        scores[name] = evaluate(
            plan,
            works,
            noise,
            splits=splits,
            first_state=run_session(plan, train).state,
            on_run=lambda runs=runs: runs.append(1),
        )
        assert len(runs) == 2 * SPLITS - 1
    assert scores["clear"].without_noise.macro_top1 > 0.9
    assert scores["clear"].private.macro_top1 > 0.5
    assert scores["clear"].private.macro_top1_se > 0
    assert scores["clear"].colour.macro_top1 < 0.5
    assert scores["noise"].frozen.macro_top1 < 0.5
    assert scores["clear"].chance.macro_top1 == 0.25
    assert set(scores["clear"].private_top1_by_artist) == set(clear)
