"""How well artists are found by their style, on works that were held out.

Flows in: all artists' features and the plan. Flows out: macro top-1 and mean reciprocal rank with standard errors, for the private
run, for the same run without noise, for the frozen features alone, for colour alone, and for chance. The held-out works are
*not* covered by the guarantee and the extra runs are thrown away: these numbers are for the eyes of the one who measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fedstyle_secure.federation.global_state import GlobalState
from fedstyle_secure.federation.run_plan import RunPlan
from fedstyle_secure.federation.session import run_session
from fedstyle_secure.privacy.noise import NoiseSource, NoNoise, SystemNoise
from fedstyle_secure.style.metrics import (
    chance_mean_reciprocal_rank,
    chance_top1,
    macro_top1,
    mean_reciprocal_rank,
    standard_error,
)

__all__ = ["HELD_OUT_SHARE", "SPLITS", "Quality", "Score", "Split", "evaluate", "evaluation_runs", "split_works"]

Features = Mapping[str, Float[np.ndarray, "artworks embedding"]]

HELD_OUT_SHARE = 0.3
SPLITS = 5


@dataclass(frozen=True)
class Split:
    """Which works of each artist train and which are asked for, by place in the artist's list."""

    train: Mapping[str, Int[np.ndarray, " train"]]
    held_out: Mapping[str, Int[np.ndarray, " held_out"]]


@dataclass(frozen=True)
class Score:
    """Retrieval quality over the splits.

    Attributes:
        macro_top1: share of held-out works whose artist ranks first, averaged over artists, then over splits; 0 to 1.
        macro_top1_se: its standard error over the splits, the noise's own scatter included.
        mrr: mean reciprocal rank of the right artist, averaged in the same way; 0 to 1.
    """

    macro_top1: float
    macro_top1_se: float
    mrr: float


@dataclass(frozen=True)
class Quality:
    """Quality of the private run and of what to hold it against.

    Attributes:
        private: the run as the policy says.
        without_noise: the same run, same clipping, no noise; not private.
        frozen: mean public features of each artist, no training, no noise; not private.
        colour: the same with the colour part of the features only; not private.
        chance: what guessing gives.
    """

    private: Score
    without_noise: Score
    frozen: Score
    colour: Score
    chance: Score


def split_works(works_per_artist: Mapping[str, int], number: int) -> Split:
    """Hold out about 30 % of every artist's works, at least one, and always in the same way for the same number.

    Args:
        works_per_artist: how many works each artist has, at least 2.
        number: which split, from 0.

    Returns:
        Places of the works.
    """
    train, held_out = {}, {}
    for place, (artist, works) in enumerate(sorted(works_per_artist.items())):
        order = np.random.default_rng([number, place]).permutation(works)
        held = max(1, round(HELD_OUT_SHARE * works))
        train[artist], held_out[artist] = np.sort(order[held:]), np.sort(order[:held])
    return Split(train, held_out)


def evaluation_runs() -> int:
    """How many runs `evaluate` makes: all splits without noise, and all but the first with noise."""
    return 2 * SPLITS - 1


def evaluate(
    plan: RunPlan,
    features: Features,
    colour: Features,
    *,
    first_state: GlobalState,
    on_run: Callable[[], None] = lambda: None,
) -> Quality:
    """Measure retrieval over five splits.

    Args:
        plan: the run's public constants.
        features: all works' features, held-out ones included.
        colour: their colour features.
        first_state: what the real run released, trained on split 0; the other splits are run here and thrown away.
        on_run: called after each of the `evaluation_runs()` runs.

    Returns:
        The scores.
    """
    splits = [split_works({artist: len(works) for artist, works in features.items()}, k) for k in range(SPLITS)]

    def run(split: Split, noise: Callable[[], NoiseSource]) -> GlobalState:
        state = run_session(plan, _take(features, split.train), noise=noise).state
        on_run()
        return state

    private = [first_state, *(run(split, SystemNoise) for split in splits[1:])]
    without_noise = [run(split, NoNoise) for split in splits]
    artists = len(plan.artists)
    return Quality(
        private=_over_splits([_score_state(*pair, features, plan) for pair in zip(private, splits, strict=True)]),
        without_noise=_over_splits(
            [_score_state(*pair, features, plan) for pair in zip(without_noise, splits, strict=True)]
        ),
        frozen=_over_splits([_score_means(features, split, plan.artists) for split in splits]),
        colour=_over_splits([_score_means(colour, split, plan.artists) for split in splits]),
        chance=Score(
            macro_top1=chance_top1(artists), macro_top1_se=0.0, mrr=chance_mean_reciprocal_rank(artists)
        ),
    )


def _score_state(
    state: GlobalState, split: Split, features: Features, plan: RunPlan
) -> tuple[float, float]:
    queries, labels = _stack(_take(features, split.held_out), plan.artists)
    return _score(state.embed(queries) @ state.finished_prototypes().T, labels)


def _score_means(features: Features, split: Split, artists: Sequence[str]) -> tuple[float, float]:
    queries, labels = _stack({a: _unit(works) for a, works in _take(features, split.held_out).items()}, artists)
    train = _take(features, split.train)
    prototypes = _unit(np.stack([_unit(train[artist]).mean(axis=0) for artist in artists]))
    return _score(queries @ prototypes.T, labels)


def _score(
    scores: Float[np.ndarray, "queries artists"], labels: Int[np.ndarray, " queries"]
) -> tuple[float, float]:
    return macro_top1(scores, labels), mean_reciprocal_rank(scores, labels)


def _over_splits(scores: Sequence[tuple[float, float]]) -> Score:
    top1, mrr = zip(*scores, strict=True)
    return Score(
        macro_top1=float(np.mean(top1)), macro_top1_se=standard_error(top1), mrr=float(np.mean(mrr))
    )


def _take(features: Features, places: Mapping[str, Int[np.ndarray, " works"]]) -> Features:
    return {artist: works[places[artist]] for artist, works in features.items()}


def _stack(
    features: Features, artists: Sequence[str]
) -> tuple[Float[np.ndarray, "works embedding"], Int[np.ndarray, " works"]]:
    labels = np.concatenate([np.full(len(features[artist]), place) for place, artist in enumerate(artists)])
    return np.concatenate([features[artist] for artist in artists]), labels


def _unit(rows: Float[np.ndarray, "rows values"]) -> Float[np.ndarray, "rows values"]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny))
