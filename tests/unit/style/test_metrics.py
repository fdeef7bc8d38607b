"""Metrics against examples worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedstyle_secure.style.metrics import (
    chance_mean_reciprocal_rank,
    chance_top1,
    macro_top1,
    map_at_k_classic,
    map_at_k_csd,
    mean_reciprocal_rank,
    per_artist_top1,
    recall_at_k,
    standard_error,
)

# Three queries by artist 0 (ranks 1, 1, 2), one by artist 1 (rank 3), none by artist 2.
SCORES = np.array([[0.9, 0.1, 0.2], [0.5, 0.4, 0.3], [0.4, 0.6, 0.1], [0.3, 0.1, 0.2]])
LABELS = np.array([0, 0, 0, 1])


def test_top1_is_averaged_over_artists_and_not_over_queries() -> None:
    np.testing.assert_allclose(per_artist_top1(SCORES, LABELS), [2 / 3, 0.0, math.nan])
    assert macro_top1(SCORES, LABELS) == pytest.approx((2 / 3 + 0) / 2)  # 2/4 if it were over queries


def test_reciprocal_rank_is_averaged_over_artists() -> None:
    assert mean_reciprocal_rank(SCORES, LABELS) == pytest.approx(((1 + 1 + 1 / 2) / 3 + 1 / 3) / 2)


def test_a_constant_score_earns_exactly_chance() -> None:
    scores, labels = np.zeros((6, 3)), np.array([0, 0, 1, 1, 1, 2])
    assert macro_top1(scores, labels) == pytest.approx(chance_top1(3))
    assert mean_reciprocal_rank(scores, labels) == pytest.approx(chance_mean_reciprocal_rank(3))
    assert chance_top1(3) == pytest.approx(1 / 3)
    assert chance_mean_reciprocal_rank(3) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_a_tie_for_second_place_shares_ranks_two_and_three() -> None:
    scores, labels = np.array([[0.5, 0.9, 0.5]]), np.array([0])
    assert macro_top1(scores, labels) == 0.0
    assert mean_reciprocal_rank(scores, labels) == pytest.approx((1 / 2 + 1 / 3) / 2)


@pytest.mark.parametrize("metric", [macro_top1, mean_reciprocal_rank])
def test_scores_that_have_no_rank_are_refused(metric) -> None:
    with pytest.raises(ValueError, match="finite"):
        metric(np.array([[0.1, math.nan]]), np.array([0]))


def test_standard_error_of_a_mean() -> None:
    assert standard_error([1.0, 2.0, 3.0]) == pytest.approx(1 / math.sqrt(3))
    assert math.isnan(standard_error([1.0]))


# One query by artist 7; the database in order of similarity: right, wrong, right, wrong, right.
SIMILARITIES = np.array([[0.9, 0.8, 0.7, 0.6, 0.5]])
DATABASE = np.array([7, 1, 7, 2, 7])
QUERY = np.array([7])


def test_csd_averages_precision_over_all_ranks() -> None:
    # Precision@1..4 = 1, 1/2, 2/3, 2/4, of which ranks 2 and 4 hold wrong images and count all the same.
    expected = (1 + 1 / 2 + 2 / 3 + 2 / 4) / 4
    assert map_at_k_csd(SIMILARITIES, QUERY, DATABASE, k=4) == pytest.approx(expected)
    assert map_at_k_csd(SIMILARITIES, QUERY, DATABASE, k=1) == 1.0


def test_classic_average_precision_counts_ranks_that_hold_a_right_image() -> None:
    assert map_at_k_classic(SIMILARITIES, QUERY, DATABASE, k=5) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    # Cut at 2 only two right images could have been seen, and one was.
    assert map_at_k_classic(SIMILARITIES, QUERY, DATABASE, k=2) == pytest.approx((1 + 0) / 2)


def test_the_two_map_definitions_differ_where_the_right_image_comes_second() -> None:
    similarities, database = np.array([[0.9, 0.8]]), np.array([1, 7])
    assert map_at_k_csd(similarities, QUERY, database, k=2) == pytest.approx((0 + 1 / 2) / 2)
    assert map_at_k_classic(similarities, QUERY, database, k=2) == pytest.approx(1 / 2)


def test_recall_counts_queries_with_at_least_one_hit() -> None:
    similarities = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1]])
    database, queries = np.array([3, 3, 4]), np.array([3, 4])
    assert [recall_at_k(similarities, queries, database, k=k) for k in (1, 2, 3)] == [0.5, 0.5, 1.0]


def test_a_query_whose_artist_is_not_in_the_database_counts_as_zero() -> None:
    for metric in (map_at_k_csd, map_at_k_classic, recall_at_k):
        assert metric(SIMILARITIES, np.array([99]), DATABASE, k=5) == 0.0


def test_several_queries_are_averaged() -> None:
    similarities = np.vstack([SIMILARITIES, SIMILARITIES])
    assert map_at_k_classic(similarities, np.array([7, 1]), DATABASE, k=5) == pytest.approx(
        ((1 + 2 / 3 + 3 / 5) / 3 + 1 / 2) / 2
    )


@pytest.mark.parametrize("k", [0, 6])
def test_a_depth_outside_the_database_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="k must be 1 to 5"):
        recall_at_k(SIMILARITIES, QUERY, DATABASE, k=k)
