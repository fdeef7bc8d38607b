"""How well artists are found by their style, on works that were held out.

Flows in: all artists' features and the plan. Flows out: macro top-1 and mean reciprocal rank with standard
errors, for the private run, for the same run without noise, for the frozen features alone, for colour alone,
and for chance. *No* guarantee covers these numbers, for any work: they are computed without noise. Of the
private runs the first is the released one and the others are thrown away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fedstyle_secure.errors import ArtworkError, ErrorCode
from fedstyle_secure.federation.global_state import GlobalState
from fedstyle_secure.federation.run_plan import RunPlan
from fedstyle_secure.federation.session import run_session
from fedstyle_secure.privacy.noise import NoiseSource, NoNoise, SystemNoise
from fedstyle_secure.style.embedding import unit_rows
from fedstyle_secure.style.metrics import (
    chance_mean_reciprocal_rank,
    chance_top1,
    macro_top1,
    mean_reciprocal_rank,
    per_artist_top1,
    standard_error,
)

__all__ = [
    "HELD_OUT_SHARE",
    "SPLITS",
    "Quality",
    "Score",
    "Split",
    "evaluate",
    "evaluation_runs",
    "evaluation_splits",
    "split_works",
]

Features = Mapping[str, Float[np.ndarray, "artworks embedding"]]
WorkIds = Mapping[str, Sequence[bytes]]

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
        macro_top1: share of held-out works whose artist ranks first, averaged over artists, then over
            splits; 0 to 1.
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
        private_top1_by_artist: for each artist the share of held-out works that find the artist first in the
            private run, over all splits; None where no split holds a work of the artist out.
    """

    private: Score
    without_noise: Score
    frozen: Score
    colour: Score
    chance: Score
    private_top1_by_artist: Mapping[str, float | None]


def split_works(work_ids: WorkIds, number: int) -> Split:
    """Hold out each work with a probability of 30 %, always in the same way for the same work and number.

    Whether a work is held out depends on that work alone. If it depended on how many others there are, one
    artwork more or less would exchange the others between training and evaluation, and the guarantee for one
    artwork would have to cover them all.

    Args:
        work_ids: for each artist a hash of every work, in the order of the works.
        number: which split, from 0.

    Returns:
        Places of the works.
    """
    train, held_out = {}, {}
    for artist, ids in work_ids.items():
        chosen = np.array([_is_held_out(work_id, number) for work_id in ids], dtype=bool)
        train[artist], held_out[artist] = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    return Split(train, held_out)


def _is_held_out(work_id: bytes, number: int) -> bool:
    drawn = int.from_bytes(hashlib.sha256(number.to_bytes(4, "big") + work_id).digest()[:8], "big")
    return drawn < HELD_OUT_SHARE * 2**64


def evaluation_splits(work_ids: WorkIds) -> tuple[Split, ...]:
    """The splits of an evaluation; the real run trains on the first.

    Args:
        work_ids: as `split_works` takes them.

    Raises:
        ArtworkError: there are so few works that a split holds none of them out.
    """
    splits = tuple(split_works(work_ids, number) for number in range(SPLITS))
    if not all(any(len(places) for places in split.held_out.values()) for split in splits):
        raise ArtworkError(
            ErrorCode.ARTWORKS_TOO_FEW_WORKS,
            "there are so few works that a split for evaluation holds none of them out",
            fix="Run without --evaluate, or add works.",
        )
    return splits


def evaluation_runs() -> int:
    """How many runs `evaluate` makes: all splits without noise, and all but the first with noise."""
    return 2 * SPLITS - 1


def evaluate(
    plan: RunPlan,
    features: Features,
    colour: Features,
    *,
    splits: Sequence[Split],
    first_state: GlobalState,
    on_run: Callable[[], None] = lambda: None,
) -> Quality:
    """Measure retrieval over five splits.

    Args:
        plan: the run's public constants.
        features: all works' features, held-out ones included.
        colour: their colour features.
        splits: the splits of the works.
        first_state: what the real run released, trained on the first split; the others are run here and
            thrown away.
        on_run: called after each of the `evaluation_runs()` runs.

    Returns:
        The scores.
    """

    def run(split: Split, noise: Callable[[], NoiseSource]) -> GlobalState:
        state = run_session(plan, _take(features, split.train), noise=noise).state
        on_run()
        return state

    private = [first_state, *(run(split, SystemNoise) for split in splits[1:])]
    without_noise = [run(split, NoNoise) for split in splits]
    artists = len(plan.artists)
    shares = np.array([_top1_by_artist(*pair, features, plan) for pair in zip(private, splits, strict=True)])
    return Quality(
        private=_over_splits(
            [_score_state(*pair, features, plan) for pair in zip(private, splits, strict=True)]
        ),
        without_noise=_over_splits(
            [_score_state(*pair, features, plan) for pair in zip(without_noise, splits, strict=True)]
        ),
        frozen=_over_splits([_score_means(features, split, plan.artists) for split in splits]),
        colour=_over_splits([_score_means(colour, split, plan.artists) for split in splits]),
        chance=Score(
            macro_top1=chance_top1(artists), macro_top1_se=0.0, mrr=chance_mean_reciprocal_rank(artists)
        ),
        private_top1_by_artist={
            artist: None if np.isnan(shares[:, place]).all() else float(np.nanmean(shares[:, place]))
            for place, artist in enumerate(plan.artists)
        },
    )


def _score_state(state: GlobalState, split: Split, features: Features, plan: RunPlan) -> tuple[float, float]:
    queries, labels = _stack(_take(features, split.held_out), plan.artists)
    return _score(state.embed(queries) @ state.finished_prototypes().T, labels)


def _top1_by_artist(
    state: GlobalState, split: Split, features: Features, plan: RunPlan
) -> Float[np.ndarray, " artists"]:
    queries, labels = _stack(_take(features, split.held_out), plan.artists)
    return per_artist_top1(state.embed(queries) @ state.finished_prototypes().T, labels)


def _score_means(features: Features, split: Split, artists: Sequence[str]) -> tuple[float, float]:
    queries, labels = _stack(
        {a: unit_rows(works) for a, works in _take(features, split.held_out).items()}, artists
    )
    train = _take(features, split.train)
    # A sum and not a mean: it points the same way, and an artist without a work gives zeros instead of
    # nothing.
    prototypes = unit_rows(np.stack([unit_rows(train[artist]).sum(axis=0) for artist in artists]))
    return _score(queries @ prototypes.T, labels)


def _score(
    scores: Float[np.ndarray, "queries artists"], labels: Int[np.ndarray, " queries"]
) -> tuple[float, float]:
    return macro_top1(scores, labels), mean_reciprocal_rank(scores, labels)


def _over_splits(scores: Sequence[tuple[float, float]]) -> Score:
    top1, mrr = zip(*scores, strict=True)
    return Score(macro_top1=float(np.mean(top1)), macro_top1_se=standard_error(top1), mrr=float(np.mean(mrr)))


def _take(features: Features, places: Mapping[str, Int[np.ndarray, " works"]]) -> Features:
    return {artist: works[places[artist]] for artist, works in features.items()}


def _stack(
    features: Features, artists: Sequence[str]
) -> tuple[Float[np.ndarray, "works embedding"], Int[np.ndarray, " works"]]:
    labels = np.concatenate([np.full(len(features[artist]), place) for place, artist in enumerate(artists)])
    return np.concatenate([features[artist] for artist in artists]), labels
