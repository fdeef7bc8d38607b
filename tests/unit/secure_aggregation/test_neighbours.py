from __future__ import annotations

import math
import random
import re
from collections import Counter
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

from fedstyle_secure.errors import SetupError, UsageError
from fedstyle_secure.secure_aggregation.neighbours import (
    SharingPlan,
    _Odds,
    _smallest_graph,
    choose_neighbours,
)
from fedstyle_secure.secure_aggregation.secret_sharing import MOST_HOLDERS

DECISION = Path(__file__).resolve().parents[3] / "docs" / "decisions" / "0006-sparse-graph.md"


def plan_of(clients: int, *, colluding: int = 0, minimum: int = 0) -> SharingPlan:
    return SharingPlan.of(clients, minimum=max(minimum, 2, colluding + 1), colluding=colluding)


def odds_of(clients: int, *, colluding: int = 0) -> _Odds:
    return _Odds(clients, colluding, (clients + colluding) // 2 + 1)


# The complete graph


@pytest.mark.parametrize(
    ("clients", "minimum", "colluding", "threshold"),
    [(2, 2, 0, 2), (3, 2, 1, 3), (8, 2, 0, 5), (8, 7, 2, 7), (32, 3, 2, 18), (32, 20, 10, 22)],
)
def test_up_to_32_clients_everybody_is_everybodys_neighbour(clients, minimum, colluding, threshold) -> None:
    plan = SharingPlan.of(clients, minimum=minimum, colluding=colluding)
    assert plan == SharingPlan(clients, clients - 1, threshold, threshold - colluding)
    assert plan.complete
    for own in range(clients):
        assert choose_neighbours(plan, own) == tuple(i for i in range(clients) if i != own)


def test_the_graph_is_complete_where_a_sparse_one_would_save_little() -> None:
    assert _smallest_graph(odds_of(64, colluding=6)) == (32, 8)
    assert plan_of(64, colluding=6).complete
    assert _smallest_graph(odds_of(64, colluding=3)) == (28, 5)
    assert not plan_of(64, colluding=3).complete


# The sparse graph


def _rows_of_the_decision() -> list[list[str]]:
    rows = re.findall(r"^\| *(\d+) *\|(.*)\|$", DECISION.read_text(encoding="utf-8"), re.MULTILINE)
    return [[clients, *(cell.strip() for cell in cells.split("|"))] for clients, cells in rows]


def test_the_table_of_the_decision_is_what_the_plan_says() -> None:
    rows = _rows_of_the_decision()
    assert [row[0] for row in rows] == ["33", "64", "128", "256", "512", "1024"]
    for clients, *cells in rows:
        n = int(clients)
        plans = [plan_of(n, colluding=colluding) for colluding in (0, n // 20, n // 10)]
        assert cells == [
            "complete" if plan.complete else f"{plan.out_degree} / {plan.threshold} / {plan.smallest_group}"
            for plan in plans
        ]


@pytest.mark.parametrize("clients", [33, 48, 100, 255, 256, 700, 1024])
@pytest.mark.parametrize("colluding_part", [0, 0.05, 0.1, 0.25])
@pytest.mark.parametrize("minimum_part", [0, 0.75, 1])
def test_every_plan_keeps_its_promises(clients: int, colluding_part: float, minimum_part: float) -> None:
    colluding = int(colluding_part * clients)
    plan = plan_of(clients, colluding=colluding, minimum=int(minimum_part * clients))
    quorum = max(int(minimum_part * clients), 2, colluding + 1, (clients + colluding) // 2 + 1)
    assert plan.smallest_group == quorum - colluding
    assert 2 <= plan.threshold <= plan.out_degree + 1 <= MOST_HOLDERS
    if not plan.complete:
        odds = _Odds(clients, colluding, quorum)
        most_colluding = odds.most_colluding_holders(plan.out_degree, bits=41)
        assert most_colluding < plan.threshold
        assert odds.largest_threshold(plan.out_degree, bits=20) == plan.threshold
        assert odds.part_opens(plan.out_degree, least_group=plan.threshold - most_colluding) <= -41


@pytest.mark.parametrize(("clients", "colluding"), [(64, 3), (256, 0), (512, 51), (1024, 2)])
def test_one_neighbour_fewer_breaks_a_promise(clients: int, colluding: int) -> None:
    odds, fewer = odds_of(clients, colluding=colluding), plan_of(clients, colluding=colluding).out_degree - 1
    threshold = odds.largest_threshold(fewer, bits=20)
    most_colluding = odds.most_colluding_holders(fewer, bits=41)
    least_group = threshold - most_colluding
    assert least_group < 1 or threshold < 2 or odds.part_opens(fewer, least_group=least_group) > -41


def test_one_share_is_never_enough_however_lax_the_odds() -> None:
    lax = _smallest_graph(odds_of(64), secrecy_bits=-1000)
    assert lax is not None
    assert lax[1] == 2


@pytest.mark.parametrize("clients", [256, 1024])
def test_more_colluding_clients_need_more_neighbours_and_shares(clients: int) -> None:
    # By steps: between two neighbouring numbers, rounding can go the other way.
    plans = [plan_of(clients, colluding=c) for c in range(0, clients // 4, clients // 32)]
    assert [p.out_degree for p in plans] == sorted(p.out_degree for p in plans)
    assert [p.threshold for p in plans] == sorted(p.threshold for p in plans)


def test_a_higher_minimum_allows_fewer_dropouts_and_needs_fewer_neighbours() -> None:
    degrees = [plan_of(512, colluding=51, minimum=minimum).out_degree for minimum in range(282, 513, 10)]
    assert degrees == sorted(degrees, reverse=True)
    assert degrees[-1] < degrees[0]


# Each of the odds, against exact arithmetic and against chance


def exact_chance(others: int, marked: int, drawn: int, hits: range) -> Fraction:
    """The chance that the number of marked clients among those drawn is in a range."""
    ways = sum(
        math.comb(marked, hit) * math.comb(others - marked, drawn - hit) for hit in hits if hit <= drawn
    )
    return Fraction(ways, math.comb(others, drawn))


@pytest.mark.parametrize(("clients", "colluding", "out_degree"), [(40, 4, 12), (40, 0, 12), (300, 30, 90)])
@pytest.mark.parametrize("bits", [2, 10, 20])
def test_random_dropouts_exactly(clients: int, colluding: int, out_degree: int, bits: int) -> None:
    odds = odds_of(clients, colluding=colluding)
    left = odds.quorum

    def fails(threshold: int) -> Fraction:
        survivor = exact_chance(clients - 1, left - 1, out_degree, range(threshold - 1))
        dropped = exact_chance(clients - 1, left, out_degree, range(threshold))
        return left * survivor + (clients - left) * dropped

    threshold = odds.largest_threshold(out_degree, bits=bits)
    assert threshold == 0 or fails(threshold) <= Fraction(1, 2**bits)
    assert fails(threshold + 1) > Fraction(1, 2**bits)


@pytest.mark.parametrize(("clients", "colluding", "out_degree"), [(40, 4, 12), (40, 1, 12), (300, 30, 90)])
@pytest.mark.parametrize("bits", [2, 20, 41])
def test_colluding_holders_exactly(clients: int, colluding: int, out_degree: int, bits: int) -> None:
    odds = odds_of(clients, colluding=colluding)

    def exceeded(most: int) -> Fraction:
        more = range(most + 1, min(out_degree, colluding) + 1)
        return odds.honest * exact_chance(clients - 1, colluding, out_degree, more)

    most = odds.most_colluding_holders(out_degree, bits=bits)
    assert exceeded(most) <= Fraction(1, 2**bits)
    assert most == 0 or exceeded(most - 1) > Fraction(1, 2**bits)


def draw_graph(plan: SharingPlan) -> np.ndarray:
    """Row i marks the out-neighbours of client i."""
    edges = np.zeros((plan.clients, plan.clients), np.bool_)
    for own in range(plan.clients):
        edges[own, list(choose_neighbours(plan, own))] = True
    return edges


def test_random_dropouts_and_colluding_holders_by_chance() -> None:
    """Both union bounds are nearly met, so the frequencies must lie below them and not far below."""
    odds, out_degree, draws = odds_of(40, colluding=4), 12, 600
    threshold = odds.largest_threshold(out_degree, bits=2)
    most_colluding = odds.most_colluding_holders(out_degree, bits=2)
    rng = np.random.default_rng(0)
    too_few = too_many = 0
    for _ in range(draws):
        edges = draw_graph(SharingPlan(40, out_degree, threshold, 1))
        alive = np.zeros(40, np.bool_)
        alive[rng.permutation(40)[: odds.quorum]] = True
        too_few += ((edges & alive).sum(axis=1) + alive < threshold).any()
        too_many += (edges[:36, 36:].sum(axis=1) > most_colluding).any()
    # Five standard deviations of a frequency of 1/4 over these draws are .09.
    assert 0.05 < too_few / draws < 0.25 + 0.09
    assert 0.1 < too_many / draws < 0.25 + 0.09


@pytest.mark.parametrize(
    ("clients", "colluding", "quorum", "out_degree", "least_group"),
    [(4, 0, 3, 1, 1), (5, 0, 4, 2, 1), (5, 1, 4, 2, 1), (6, 2, 5, 2, 1), (5, 0, 5, 1, 2)],
)
def test_the_odds_of_a_part_are_the_mean_number_of_cuts(
    clients: int, colluding: int, quorum: int, out_degree: int, least_group: int
) -> None:
    """Over every graph there is: how many pairs of sets have no edge between them."""
    honest = range(clients - colluding)
    choices = [list(combinations([i for i in range(clients) if i != own], out_degree)) for own in honest]
    pairs = []
    for size in range(least_group, quorum - colluding):
        rest = max(quorum - colluding - size, least_group)
        for part in combinations(honest, size):
            pairs += [(part, other) for other in combinations(set(honest) - set(part), rest)]
    cuts = graphs = 0
    for graph in product(*choices):
        edges = {(i, j) for i, chosen in enumerate(graph) for j in chosen}
        cuts += sum(
            not any((i, j) in edges or (j, i) in edges for i in part for j in other) for part, other in pairs
        )
        graphs += 1
    mean = 2.0 ** _Odds(clients, colluding, quorum).part_opens(out_degree, least_group=least_group)
    assert cuts > 0
    assert mean == pytest.approx(cuts / graphs)


def components(members: int, neighbours: list[int]) -> list[int]:
    """The connected components of a set; sets are bit masks."""
    found = []
    while members:
        part = frontier = members & -members
        while frontier:
            member = frontier.bit_length() - 1
            new = neighbours[member] & members & ~part
            part |= new
            frontier = frontier & ~(1 << member) | new
        found.append(part)
        members &= ~part
    return found


def aggregator_opens_a_part(chosen: list[int], odds: _Odds, *, threshold: int) -> bool:
    """A malicious aggregator with colluding clients (the last ones) tries every survivor list there is."""
    honest = odds.honest
    neighbours = list(chosen)
    for own, other in product(range(odds.clients), repeat=2):
        neighbours[other] |= (chosen[own] >> other & 1) << own
    colluding = (1 << odds.clients) - (1 << honest)
    for survivors in range(1 << honest):
        able = sum(
            1 << own
            for own in range(honest)
            if survivors >> own & 1
            and ((chosen[own] | 1 << own) & (survivors | colluding)).bit_count() >= threshold
        )
        if able.bit_count() + odds.colluding < odds.quorum:
            continue
        for part in components(survivors, neighbours):
            if not part & ~able and part.bit_count() < odds.quorum - odds.colluding:
                return True
    return False


@pytest.mark.parametrize(
    ("clients", "colluding", "out_degree", "threshold", "happens"),
    [(8, 0, 2, 2, True), (9, 1, 3, 3, True), (10, 1, 4, 3, True), (10, 1, 5, 4, False), (10, 0, 5, 2, False)],
)
def test_an_aggregator_that_tries_every_survivor_list_is_within_the_odds(
    clients: int, colluding: int, out_degree: int, threshold: int, happens: bool
) -> None:
    odds, rng, graphs = odds_of(clients, colluding=colluding), random.Random(1), 150
    # No more colluding holders than colluding clients: that half of the odds is zero here.
    limit = min(1.0, 2.0 ** odds.part_opens(out_degree, least_group=threshold - colluding))
    opened = 0
    for _ in range(graphs):
        others = [[i for i in range(clients) if i != own] for own in range(clients)]
        chosen = [sum(1 << i for i in rng.sample(rest, out_degree)) for rest in others]
        opened += aggregator_opens_a_part(chosen, odds, threshold=threshold)
    assert opened / graphs <= limit + 5 * math.sqrt(limit * (1 - limit) / graphs)
    assert (opened > 0) == happens
    assert (limit < 0.01) != happens


def clients_to_cut_off(edges: np.ndarray, *, least_group: int) -> int:
    """The fewest clients that must drop out to cut off somebody together with holders who keep it going."""
    either = edges | edges.T
    fewest = len(edges)
    for own in range(len(edges)):
        group = [own]
        while len(group) < least_group:
            reached = either[group].any(axis=0)
            candidates = np.flatnonzero(edges[own] & ~np.isin(np.arange(len(edges)), group))
            added = [(reached | either[candidate]).sum() for candidate in candidates]
            group.append(int(candidates[np.argmin(added)]))
        reached = either[group].any(axis=0)
        reached[group] = False
        fewest = min(fewest, int(reached.sum()))
    return fewest


def test_a_group_cannot_be_cut_off_by_dropping_its_neighbours() -> None:
    """The greedy attack on a plan, and on a graph that is too thin as the control."""
    plan, thin = plan_of(64, colluding=2), SharingPlan(64, 5, 4, 32)
    quorum = plan.smallest_group + 2
    assert clients_to_cut_off(draw_graph(plan), least_group=plan.threshold - 2) > 64 - quorum
    assert clients_to_cut_off(draw_graph(thin), least_group=thin.threshold - 2) <= 64 - quorum


# Choosing


def test_every_set_of_neighbours_is_as_likely_as_any_other() -> None:
    plan = SharingPlan(clients=6, out_degree=2, threshold=2, smallest_group=3)
    counts = Counter(choose_neighbours(plan, 3) for _ in range(5000))
    assert set(counts) == set(combinations([0, 1, 2, 4, 5], 2))
    # 500 each, with a standard deviation of 21.
    assert all(abs(count - 500) < 140 for count in counts.values())


@pytest.mark.parametrize("own", [0, 17, 99])
def test_neighbours_are_other_clients_in_roster_order(own: int) -> None:
    plan = plan_of(100, colluding=5)
    neighbours = choose_neighbours(plan, own)
    assert len(neighbours) == plan.out_degree
    assert list(neighbours) == sorted(set(neighbours) - {own})
    assert neighbours[0] >= 0
    assert neighbours[-1] < 100


def test_the_choice_does_not_follow_a_seed() -> None:
    plan = plan_of(100, colluding=5)
    choices = []
    for _ in range(2):
        random.seed(7)
        choices.append(choose_neighbours(plan, 0))
    assert choices[0] != choices[1]


@pytest.mark.parametrize("own", [-1, 100])
def test_a_place_that_the_roster_lacks_is_refused(own: int) -> None:
    with pytest.raises(UsageError, match=rf"place {own} on a roster of 100"):
        choose_neighbours(plan_of(100), own)


# Refusals


def test_too_many_colluding_clients_on_a_large_roster_are_refused_with_the_numbers_to_change() -> None:
    with pytest.raises(UsageError) as caught:
        plan_of(1024, colluding=341)
    message = str(caught.value)
    assert "no graph of 1024 clients with at most 255 holders each keeps 341 colluding ones out" in message
    assert "minimum 342" in message
    assert "Lower colluding, raise minimum, or take a roster of at most 255 clients." in message
    # Each way out is one.
    assert plan_of(1024, colluding=250).out_degree < MOST_HOLDERS
    assert plan_of(1024, colluding=341, minimum=1000).out_degree < MOST_HOLDERS
    assert plan_of(255, colluding=85).complete


def test_a_roster_beyond_all_rosters_is_refused() -> None:
    with pytest.raises(UsageError, match="1025 clients; the range is 2 to 1024"):
        plan_of(1025)


@pytest.mark.parametrize(("clients", "minimum", "colluding"), [(1, 2, 0), (5, 6, 0), (64, 2, 2)])
def test_a_quorum_that_cannot_be_is_refused(clients: int, minimum: int, colluding: int) -> None:
    with pytest.raises(SetupError):
        SharingPlan.of(clients, minimum=minimum, colluding=colluding)
