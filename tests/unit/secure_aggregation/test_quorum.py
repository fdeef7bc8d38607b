from __future__ import annotations

from itertools import product

import pytest

from fedstyle_secure.errors import ErrorCode, SetupError
from fedstyle_secure.secure_aggregation.quorum import Quorum


@pytest.mark.parametrize(
    ("clients", "minimum", "colluding", "threshold"),
    [
        (2, 2, 0, 2),
        (2, 2, 1, 2),
        (3, 2, 0, 2),
        (3, 2, 1, 3),
        (4, 3, 1, 3),
        (5, 3, 1, 4),
        (7, 7, 0, 7),
        (100, 3, 0, 51),
        (100, 40, 33, 67),
        (1024, 2, 1, 513),
    ],
)
def test_as_many_are_needed_as_the_minimum_and_agreement_ask_for(
    clients: int, minimum: int, colluding: int, threshold: int
) -> None:
    assert Quorum(minimum=minimum, colluding=colluding).threshold(clients) == threshold


def test_two_lists_that_are_acted_upon_share_an_honest_signer_and_no_smaller_number_gives_that() -> None:
    for clients, minimum, colluding in product(range(2, 40), [2, 5, 12], range(12)):
        if colluding >= minimum or max(minimum, (clients + colluding) // 2 + 1) > clients:
            continue
        threshold = Quorum(minimum=minimum, colluding=colluding).threshold(clients)
        honest = clients - colluding
        # The colluding sign both lists; the other signers come from the honest, who sign one list each.
        assert 2 * (threshold - colluding) > honest
        assert threshold == minimum or 2 * (threshold - 1 - colluding) <= honest
        # Whoever is in a sum is never alone with colluders, unless the policy allows just that.
        assert threshold - colluding >= minimum - colluding >= 1


@pytest.mark.parametrize(
    ("minimum", "colluding", "reason"),
    [
        (1, 0, "a minimum of 1 clients, outside 2 to 1024"),
        (1025, 0, "a minimum of 1025 clients"),
        (2, -1, "-1 colluding clients with a minimum of 2; the range is 0 to 1"),
        (2, 2, "2 colluding clients with a minimum of 2"),
        (4, 4, "the range is 0 to 3"),
    ],
)
def test_a_quorum_that_protects_nobody_is_refused(minimum: int, colluding: int, reason: str) -> None:
    with pytest.raises(SetupError) as caught:
        Quorum(minimum=minimum, colluding=colluding)
    assert caught.value.code is ErrorCode.ROSTER_INVALID
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("clients", "minimum", "colluding", "needed"), [(2, 3, 0, 3), (3, 3, 2, 3), (4, 4, 3, 4), (5, 9, 1, 9)]
)
def test_a_roster_that_can_never_be_enough_is_refused(
    clients: int, minimum: int, colluding: int, needed: int
) -> None:
    quorum = Quorum(minimum=minimum, colluding=colluding)
    assert quorum.threshold(needed) == needed
    with pytest.raises(SetupError) as caught:
        quorum.threshold(needed - 1)
    assert caught.value.code is ErrorCode.ROSTER_INVALID
    assert f"the roster holds {needed - 1} clients, and sums need" in caught.value.message
