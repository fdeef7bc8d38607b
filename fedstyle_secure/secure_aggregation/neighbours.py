"""Who masks with whom, and who holds whose shares.

Flows in: the size of the roster and the quorum, which are public. Flows out: a plan that all clients compute
alike, and one client's random choice of neighbours. Never seen here: keys, shares, vectors.

The holders of a client are itself and its out-neighbours, in roster order; the holder at position p has the
share at position p. Its mask neighbours are its out-neighbours and those whose out-neighbour it is. Up to 32
clients everybody is everybody's neighbour (Bonawitz et al. 2017, "Practical secure aggregation for
privacy-preserving machine learning"). Above, each client draws a few (Bell et al. 2020, "Secure single-server
aggregation with (poly)logarithmic overhead") and signs its choice, so nobody can shape the graph around it.
Since all survivors sign one list here, a sparse graph gives what the complete one does: one sum. Reasons and
numbers stand in docs/decisions/0006-sparse-graph.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from random import SystemRandom
from typing import Final, final

import numpy as np
from jaxtyping import Float64, Int64

from fedstyle_secure.errors import ErrorCode, UsageError
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.refusals import unusable
from fedstyle_secure.secure_aggregation.secret_sharing import MOST_HOLDERS

__all__ = ["SharingPlan", "choose_neighbours"]

_MOST_CLIENTS: Final = 1024

_COMPLETE_UP_TO: Final = 32
"""Clients who are all neighbours, whatever a sparse graph would need."""

_SECRECY_BITS: Final = 41
"""Each of two ways to fail has probability 2^-41 or less, both together 2^-40."""

_CORRECTNESS_BITS: Final = 20


@final
@dataclass(frozen=True)
class SharingPlan:
    """How many neighbours each client has, and how many of its holders bring its secrets back. Public.

    Attributes:
        clients: size of the roster.
        out_degree: neighbours that each client chooses.
        threshold: shares that bring a secret back. A client must refuse a survivor list that holds fewer of
            its own holders, itself included.
        smallest_group: the least number of honest clients in anything that can be opened.

    Guarantees:
        Let `colluding` clients at most, fixed before the neighbours are chosen, share all they have with an
        aggregator that picks the survivors of each slot as it likes, after it has seen the graph. Let honest
        clients upload only once a quorum has signed who finished the set-up; sign one survivor list a slot,
        which must hold a quorum and `threshold` of their own holders; and give shares away only for a list
        that a quorum has signed. Then, except with probability 2^-40 over the choices of one set-up, for all
        its slots and all survivor lists at once:

        - colluding holders alone bring no honest client's secret back;
        - what can be opened of a slot is one sum, over at least `smallest_group` honest clients.

        Where the clients that stay away are a random set and a quorum is left, the sum opens, except with
        probability 2^-20. In the complete graph all this holds without exception. An aggregator that makes
        clients set up again makes them draw again: the odds are for one set-up.
    """

    clients: int
    out_degree: int
    threshold: int
    smallest_group: int

    @property
    def complete(self) -> bool:
        """Whether everybody is everybody's neighbour."""
        return self.out_degree == self.clients - 1

    @classmethod
    def of(cls, clients: int, *, minimum: int, colluding: int) -> SharingPlan:
        """The plan for a roster.

        Args:
            clients: size of the roster, 2 to 1024.
            minimum: the least number of clients in a sum.
            colluding: how many clients may help the aggregator.

        Raises:
            SetupError: the quorum is none, or larger than the roster.
            UsageError: the roster is larger than 1024, or larger than 255 and no sparse graph will do.
        """
        if clients > _MOST_CLIENTS:
            raise unusable(f"a plan for {clients} clients; the range is 2 to {_MOST_CLIENTS}")
        quorum = Quorum(minimum=minimum, colluding=colluding).threshold(clients)
        smallest_group = quorum - colluding
        sparse = None
        if clients > _COMPLETE_UP_TO:
            sparse = _smallest_graph(_Odds(clients, colluding, quorum))
        # With half of the others as out-neighbours, three quarters of them are mask neighbours: then the rest
        # is a low price for a graph that does not depend on luck.
        if clients <= MOST_HOLDERS and (sparse is None or 2 * sparse[0] >= clients - 1):
            return cls(clients, clients - 1, quorum, smallest_group)
        if sparse is None:
            raise _no_graph(clients, minimum, colluding)
        return cls(clients, *sparse, smallest_group)


def choose_neighbours(plan: SharingPlan, own_index: int) -> tuple[int, ...]:
    """Draw a client's out-neighbours, all sets alike, with the operating system's randomness.

    Args:
        plan: the plan of the roster.
        own_index: the client's place on the roster.

    Returns:
        Their places on the roster, in order.

    Raises:
        UsageError: the roster has no such place.
    """
    if not 0 <= own_index < plan.clients:
        raise unusable(f"place {own_index} on a roster of {plan.clients} clients")
    drawn = SystemRandom().sample(range(plan.clients - 1), plan.out_degree)
    return tuple(sorted(place + (place >= own_index) for place in drawn))


@final
@dataclass(frozen=True)
class _Odds:
    """What can go wrong in a sparse graph, and how likely that is, as logarithms to base 2.

    Attributes:
        clients: size of the roster.
        colluding: how many of them help the aggregator.
        quorum: how many survive at least.
    """

    clients: int
    colluding: int
    quorum: int

    @property
    def honest(self) -> int:
        return self.clients - self.colluding

    def largest_threshold(self, out_degree: int, *, bits: int) -> int:
        """The largest threshold that random dropouts respect; 0 if there is none.

        Union bound over all clients, with as few left as may be. A survivor has itself and those of its
        out-neighbours that are among the other survivors; a client who dropped out has those among all.
        """
        others, left = self.clients - 1, self.quorum
        of_survivor = np.logaddexp2.accumulate(_hypergeometric(others, left - 1, out_degree))
        of_dropped = np.logaddexp2.accumulate(_hypergeometric(others, left, out_degree))
        # Place t - 1 is for threshold t: too few are t - 2 out-neighbours of a survivor, and t - 1 of one who
        # dropped out.
        survivor_lacks = _log2(left) + np.concatenate([[-np.inf], of_survivor[:-1]])
        dropped_lacks = _log2(self.clients - left) + of_dropped
        return int(np.count_nonzero(np.logaddexp2(survivor_lacks, dropped_lacks) <= -bits))

    def most_colluding_holders(self, out_degree: int, *, bits: int) -> int:
        """How many colluding out-neighbours an honest client may have before that is too unlikely to matter.

        Union bound over the honest clients.
        """
        chances = _hypergeometric(self.clients - 1, self.colluding, out_degree)
        at_least = np.logaddexp2.accumulate(chances[::-1])[::-1]
        return int(np.count_nonzero(_log2(self.honest) + at_least[1:] > -bits))

    def part_opens(self, out_degree: int, *, least_group: int) -> float:
        """The chance that some survivor list lets a part of the honest survivors be opened by itself.

        Call the part A, of fewer than `quorum` - `colluding` clients, and the other honest survivors B. No
        client in A chose one in B, nor the other way round, else their mask would stay.

        A and the colluding clients are too few for a quorum, so `quorum` - `colluding` - |A| signers or more
        are in B. Each signer there, and each member of A, has `threshold` holders that survive or collude. At
        most `threshold` - `least_group` of them collude, and the others are on its own side of the cut, as it
        is itself. So A and B have `least_group` clients or more.

        Union bound over all A and all subsets of B of the size that is sure to exist; clients choose
        independently.
        """
        needed, others = self.quorum - self.colluding, self.clients - 1
        group = np.arange(least_group, needed)
        rest = np.maximum(needed - group, least_group)
        possible = group + rest <= self.honest
        group, rest = group[possible], rest[possible]
        pairs = _log2_choices(self.honest, group) + _log2_choices(self.honest - group, rest)
        all_choices = _log2_choices(others, out_degree)
        group_stays = group * (_log2_choices(others - rest, out_degree) - all_choices)
        rest_stays = rest * (_log2_choices(others - group, out_degree) - all_choices)
        return float(np.logaddexp2.reduce(pairs + group_stays + rest_stays))


@cache
def _smallest_graph(
    odds: _Odds, *, secrecy_bits: int = _SECRECY_BITS, correctness_bits: int = _CORRECTNESS_BITS
) -> tuple[int, int] | None:
    """The fewest out-neighbours that do, with the largest threshold for them; None if none do."""
    for out_degree in range(1, min(odds.clients, MOST_HOLDERS)):
        threshold = odds.largest_threshold(out_degree, bits=correctness_bits)
        colluding_holders = odds.most_colluding_holders(out_degree, bits=secrecy_bits)
        if threshold <= max(1, colluding_holders):
            continue
        least_group = threshold - colluding_holders
        if odds.part_opens(out_degree, least_group=least_group) <= -secrecy_bits:
            return out_degree, threshold
    return None


def _hypergeometric(others: int, marked: int, drawn: int) -> Float64[np.ndarray, " drawn+1"]:
    """log2 of the chance that 0, 1, ..., `drawn` of `drawn` clients, drawn from `others`, are marked."""
    hits = np.arange(drawn + 1)
    ways = _log2_choices(marked, hits) + _log2_choices(others - marked, drawn - hits)
    chances: Float64[np.ndarray, " drawn+1"] = ways - _log2_choices(others, drawn)
    return chances


def _log2_choices(
    total: Int64[np.ndarray, " sets"] | int, chosen: Int64[np.ndarray, " sets"] | int
) -> Float64[np.ndarray, " sets"]:
    """log2 of the number of ways to choose; minus infinity where there is none."""
    total, chosen = np.broadcast_arrays(np.atleast_1d(total), np.atleast_1d(chosen))
    factorials = _log2_factorials()
    ways = np.full(total.shape, -np.inf)
    possible = (chosen >= 0) & (chosen <= total)
    total, chosen = total[possible], chosen[possible]
    ways[possible] = factorials[total] - factorials[chosen] - factorials[total - chosen]
    return ways


@cache
def _log2_factorials() -> Float64[np.ndarray, " 1025"]:
    """log2 of 0!, 1!, ..., 1024!."""
    return np.concatenate([[0.0], np.cumsum(np.log2(np.arange(1.0, _MOST_CLIENTS + 1)))])


def _log2(count: int) -> float:
    return math.log2(count) if count else -math.inf


def _no_graph(clients: int, minimum: int, colluding: int) -> UsageError:
    return UsageError(
        ErrorCode.USAGE,
        f"no graph of {clients} clients with at most {MOST_HOLDERS} holders each keeps {colluding} colluding "
        f"ones out (minimum {minimum})",
        fix=f"Lower colluding, raise minimum, or take a roster of at most {MOST_HOLDERS} clients.",
    )
