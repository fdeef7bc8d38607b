"""Whatever the secrets, the holders and the threshold: enough shares bring the secrets back, one fewer does
not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies

from fedstyle_secure.secure_aggregation.secret_sharing import MOST_HOLDERS, SECRET_BYTES, combine, split


@strategies.composite
def splits(draw):
    """Secrets, a number of holders, a threshold, and an order of the holders."""
    count = draw(strategies.integers(1, 4))
    content = draw(strategies.binary(min_size=count * SECRET_BYTES, max_size=count * SECRET_BYTES))
    holders = draw(strategies.one_of(strategies.integers(2, 12), strategies.integers(2, MOST_HOLDERS)))
    threshold = draw(strategies.integers(2, holders))
    order = draw(strategies.permutations(range(holders)))
    return np.frombuffer(content, np.uint8).reshape(count, SECRET_BYTES), holders, threshold, order


@given(case=splits(), extra=strategies.integers(0, 3))
def test_enough_shares_in_any_order_bring_the_secrets_back(case, extra) -> None:
    secrets, holders, threshold, order = case
    shares = split(secrets, holders=holders, threshold=threshold)
    chosen = order[: threshold + extra]
    np.testing.assert_array_equal(combine(shares[chosen], holders=chosen), secrets)


@given(case=splits())
def test_one_share_too_few_gives_an_unrelated_secret(case) -> None:
    secrets, holders, threshold, order = case
    if threshold == 2:
        return
    shares = split(secrets, holders=holders, threshold=threshold)
    chosen = order[: threshold - 1]
    # Each byte is right with probability 1/256; 16 of 32 or more are with one of 2^-99.
    assert ((combine(shares[chosen], holders=chosen) == secrets).sum(axis=1) < 16).all()


@given(case=splits(), other=strategies.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES))
def test_shares_add_up_as_secrets_do(case, other) -> None:
    """Sharing is linear over exclusive-or; the sum of two splits is a split of the sum."""
    secrets, holders, threshold, order = case
    others = np.tile(np.frombuffer(other, np.uint8), (len(secrets), 1))
    total = split(secrets, holders=holders, threshold=threshold) ^ split(
        others, holders=holders, threshold=threshold
    )
    chosen = order[:threshold]
    np.testing.assert_array_equal(combine(total[chosen], holders=chosen), secrets ^ others)
