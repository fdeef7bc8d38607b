"""How well style retrieval works, in numbers whose definitions are written down.

Flows in: scores of queries and the truth. Flows out: plain numbers. Never seen here: images, features,
models.

Two families. *Artist retrieval*: one score per artist, averaged over artists ("macro"), so that an artist
with many works does not count more. *Image retrieval*: one score per database image, averaged over queries,
as Contrastive Style Descriptors (CSD, arXiv 2404.01292) report it; beside CSD's mAP@k stands the classic one,
because they are not the same number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

__all__ = [
    "chance_mean_reciprocal_rank",
    "chance_top1",
    "macro_top1",
    "map_at_k_classic",
    "map_at_k_csd",
    "mean_reciprocal_rank",
    "per_artist_top1",
    "recall_at_k",
    "standard_error",
]


def macro_top1(scores: Float[np.ndarray, "queries artists"], labels: Int[np.ndarray, " queries"]) -> float:
    """Share of queries whose own artist scores highest, averaged per artist and then over artists.

    Tied scores share the credit, as if ties were broken at random: a score that is the same for every artist
    earns chance, not a full mark.

    Args:
        scores: finite; higher is closer.
        labels: column of each query's own artist; artists without a query are left out of the average.

    Returns:
        0 to 1.
    """
    return float(np.nanmean(per_artist_top1(scores, labels)))


def per_artist_top1(
    scores: Float[np.ndarray, "queries artists"], labels: Int[np.ndarray, " queries"]
) -> Float64[np.ndarray, " artists"]:
    """For each artist the share of its queries that rank it first; NaN for an artist without queries.

    Args:
        scores: finite; higher is closer.
        labels: column of each query's own artist.

    Returns:
        One number per artist: look at the worst, not only at the mean.
    """
    above, tied = _above_and_tied(scores, labels)
    return _by_artist(np.where(above == 0, 1.0 / tied, 0.0), labels, artists=scores.shape[1])


def mean_reciprocal_rank(
    scores: Float[np.ndarray, "queries artists"], labels: Int[np.ndarray, " queries"]
) -> float:
    """One over the rank of the query's own artist, averaged per artist, then over artists; ties share.

    Args:
        scores: finite; higher is closer.
        labels: column of each query's own artist.

    Returns:
        0 to 1.
    """
    above, tied = _above_and_tied(scores, labels)
    reciprocal = [np.mean(1.0 / np.arange(a + 1, a + t + 1)) for a, t in zip(above, tied, strict=True)]
    return float(np.nanmean(_by_artist(np.array(reciprocal), labels, artists=scores.shape[1])))


def chance_top1(artists: int) -> float:
    """What guessing gives for `macro_top1`.

    Args:
        artists: how many artists there are to choose from, 1 or more.

    Returns:
        One over their number.
    """
    return 1.0 / artists


def chance_mean_reciprocal_rank(artists: int) -> float:
    """What a random order gives for `mean_reciprocal_rank`.

    Args:
        artists: how many artists there are to choose from, 1 or more.

    Returns:
        The harmonic number of ``artists``, divided by ``artists``.
    """
    return float(np.mean(1.0 / np.arange(1, artists + 1)))


def standard_error(values: Sequence[float]) -> float:
    """Standard error of a mean over splits.

    Random splits of the same works overlap, so this understates how much another set of works would change
    the number.

    Args:
        values: one number per split.

    Returns:
        Sample standard deviation over the square root of their number; NaN for fewer than two.
    """
    if len(values) < 2:
        return math.nan
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def map_at_k_csd(
    similarities: Float[np.ndarray, "queries database"],
    query_labels: Int[np.ndarray, " queries"],
    database_labels: Int[np.ndarray, " database"],
    *,
    k: int,
) -> float:
    """CSD's mAP@k: Precision@i averaged over *all* ranks i = 1..k, then over queries.

    Unlike classic average precision it also counts the precision at ranks that hold a wrong image, and it
    does not divide by how many right ones there are.

    Args:
        similarities: finite; higher is closer. Equal ones keep the database's order.
        query_labels: artist of each query.
        database_labels: artist of each database image.
        k: how deep to look, 1 to the size of the database.

    Returns:
        0 to 1.
    """
    precision = _precision(_hits(similarities, query_labels, database_labels, k=k))
    return float(precision.mean())


def map_at_k_classic(
    similarities: Float[np.ndarray, "queries database"],
    query_labels: Int[np.ndarray, " queries"],
    database_labels: Int[np.ndarray, " database"],
    *,
    k: int,
) -> float:
    """Classic mean average precision, cut at k: Precision@i summed over the ranks i that hold a right image.

    Args:
        similarities: finite; higher is closer. Equal ones keep the database's order.
        query_labels: artist of each query.
        database_labels: artist of each database image.
        k: how deep to look; the size of the database gives uncut average precision.

    Returns:
        0 to 1; each query's sum is divided by the number of right images that k ranks can hold, and a query
        without any counts as 0.
    """
    hits = _hits(similarities, query_labels, database_labels, k=k)
    right = (query_labels[:, None] == database_labels[None, :]).sum(axis=1)
    possible = np.maximum(np.minimum(right, k), 1)
    return float(((_precision(hits) * hits).sum(axis=1) / possible).mean())


def recall_at_k(
    similarities: Float[np.ndarray, "queries database"],
    query_labels: Int[np.ndarray, " queries"],
    database_labels: Int[np.ndarray, " database"],
    *,
    k: int,
) -> float:
    """CSD's Recall@k: the share of queries with at least one right image among the first k.

    Args:
        similarities: finite; higher is closer. Equal ones keep the database's order.
        query_labels: artist of each query.
        database_labels: artist of each database image.
        k: how deep to look, 1 to the size of the database.

    Returns:
        0 to 1.
    """
    return float(_hits(similarities, query_labels, database_labels, k=k).any(axis=1).mean())


def _above_and_tied(
    scores: Float[np.ndarray, "queries artists"], labels: Int[np.ndarray, " queries"]
) -> tuple[Int[np.ndarray, " queries"], Int[np.ndarray, " queries"]]:
    """How many artists score above the query's own, and how many, itself included, score the same."""
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite: a NaN has no rank")
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    return (scores > own).sum(axis=1), (scores == own).sum(axis=1)


def _by_artist(
    values: Float64[np.ndarray, " queries"], labels: Int[np.ndarray, " queries"], *, artists: int
) -> Float64[np.ndarray, " artists"]:
    """Mean of the queries' values per artist."""
    counts = np.bincount(labels, minlength=artists)
    totals = np.bincount(labels, weights=values, minlength=artists)
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def _hits(
    similarities: Float[np.ndarray, "queries database"],
    query_labels: Int[np.ndarray, " queries"],
    database_labels: Int[np.ndarray, " database"],
    *,
    k: int,
) -> Bool[np.ndarray, "queries k"]:
    """Whether each of the first k images is by the query's artist."""
    if not 1 <= k <= similarities.shape[1]:
        raise ValueError(f"k must be 1 to {similarities.shape[1]}, the size of the database, not {k}")
    if not np.isfinite(similarities).all():
        raise ValueError("similarities must be finite: a NaN has no rank")
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return np.asarray(database_labels[order] == query_labels[:, None])


def _precision(hits: Bool[np.ndarray, "queries k"]) -> Float64[np.ndarray, "queries k"]:
    """Precision@1 .. Precision@k of each query."""
    return np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
