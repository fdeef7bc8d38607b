from __future__ import annotations

import os
from itertools import combinations

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, UsageError
from fedstyle_secure.secure_aggregation import secret_sharing
from fedstyle_secure.secure_aggregation.secret_sharing import MOST_HOLDERS, SECRET_BYTES, combine, split


def times(a: int, b: int) -> int:
    """The field's product by long multiplication and long division; the module does neither."""
    product = 0
    for bit in range(8):
        product ^= (a << bit) * (b >> bit & 1)
    for bit in range(14, 7, -1):
        product ^= (0x11B << (bit - 8)) * (product >> bit & 1)
    return product


def inverse(a: int) -> int:
    return next(b for b in range(256) if times(a, b) == 1)


def interpolate(points: dict[int, int], at: int) -> int:
    """The value at `at` of the lowest polynomial through the points, by Newton's divided differences."""
    places, differences = list(points), list(points.values())
    for order in range(1, len(places)):
        for i in range(len(places) - 1, order - 1, -1):
            gap = inverse(places[i] ^ places[i - order])
            differences[i] = times(differences[i] ^ differences[i - 1], gap)
    value = 0
    for place, difference in zip(reversed(places), reversed(differences), strict=True):
        value = times(value, at ^ place) ^ difference
    return value


def random_secrets(count: int) -> np.ndarray:
    return np.frombuffer(os.urandom(count * SECRET_BYTES), np.uint8).reshape(count, SECRET_BYTES)


def filled(byte: int) -> np.ndarray:
    return np.full((1, SECRET_BYTES), byte, np.uint8)


@pytest.fixture
def coefficients(monkeypatch):
    """Replace the operating system's randomness by bytes that the test chose."""

    def replace(*values: int) -> None:
        content = b"".join(bytes([value]) * SECRET_BYTES for value in values)
        monkeypatch.setattr(secret_sharing.os, "urandom", lambda size: content[:size])

    return replace


def test_the_product_of_this_file_is_that_of_the_aes_standard() -> None:
    # FIPS 197, section 4.2.
    assert times(0x57, 0x83) == 0xC1
    assert times(0x57, 0x13) == 0xFE


def test_a_line_has_the_values_that_the_aes_standard_gives(coefficients) -> None:
    coefficients(0x57)
    shares = split(filled(0x2A), holders=255, threshold=2)
    assert shares[0x83 - 1].tolist() == [[0x2A ^ 0xC1] * SECRET_BYTES]
    assert shares[0x13 - 1].tolist() == [[0x2A ^ 0xFE] * SECRET_BYTES]
    assert shares[0].tolist() == [[0x2A ^ 0x57] * SECRET_BYTES]


def test_a_parabola_worked_out_by_hand(coefficients) -> None:
    # 7 + x + 2 x^2: at 1, 7 ^ 1 ^ 2 = 4; at 2, 7 ^ 2 ^ 2*4 = 0x0d; at 3, where x^2 is 5, 7 ^ 3 ^ 2*5 = 0x0e.
    coefficients(1, 2)
    shares = split(filled(7), holders=3, threshold=3)
    assert shares[:, 0, 0].tolist() == [4, 0x0D, 0x0E]
    assert combine(shares, holders=range(3)).tolist() == filled(7).tolist()


def test_every_share_lies_on_the_polynomial_through_the_secret_and_the_first_ones() -> None:
    secrets = random_secrets(2)
    shares = split(secrets, holders=9, threshold=4)
    for secret in range(2):
        for byte in (0, 13, 31):
            values = {0: int(secrets[secret, byte])}
            values |= {h + 1: int(shares[h, secret, byte]) for h in range(3)}
            for holder in range(3, 9):
                assert interpolate(values, holder + 1) == shares[holder, secret, byte]


def test_any_threshold_of_shares_bring_the_secrets_back() -> None:
    secrets = random_secrets(3)
    shares = split(secrets, holders=6, threshold=4)
    for count in (4, 5, 6):
        for holders in combinations(range(6), count):
            np.testing.assert_array_equal(combine(shares[list(holders)], holders=holders), secrets)


def test_combining_agrees_with_plain_integers_on_shares_of_nothing() -> None:
    # Any bytes are shares of something: no split of the module stands behind these.
    holders = (254, 3, 77, 0)
    shares = random_secrets(4).reshape(4, 1, SECRET_BYTES)
    combined = combine(shares, holders=holders)
    for byte in range(SECRET_BYTES):
        values = {h + 1: int(share) for h, share in zip(holders, shares[:, 0, byte], strict=True)}
        assert combined[0, byte] == interpolate(values, 0)


def test_the_whole_range_of_holders_works() -> None:
    secrets = random_secrets(1)
    shares = split(secrets, holders=MOST_HOLDERS, threshold=MOST_HOLDERS)
    np.testing.assert_array_equal(combine(shares, holders=range(MOST_HOLDERS)), secrets)
    few = split(secrets, holders=MOST_HOLDERS, threshold=2)
    np.testing.assert_array_equal(combine(few[[254, 100]], holders=[254, 100]), secrets)


def pairs_of_values(secret: int, *, threshold: int) -> np.ndarray:
    """How often each pair of values comes at points 2 and 5, over all polynomials with that secret."""
    others = np.indices((256,) * (threshold - 1), np.uint8).reshape(threshold - 1, -1)
    terms = np.concatenate([np.full((1, others.shape[1]), secret, np.uint8), others])
    shares = secret_sharing._products(secret_sharing._vandermonde(5, threshold), terms)
    return np.bincount(256 * shares[1].astype(np.int64) + shares[4], minlength=2**16)


@pytest.mark.parametrize("secret", [0x00, 0x01, 0xB7])
def test_one_share_too_few_is_the_same_for_every_secret(secret: int) -> None:
    """Perfect secrecy, exhaustively: each pair of shares comes from exactly one of the 2^16 polynomials."""
    assert (pairs_of_values(secret, threshold=3) == 1).all()


def test_as_many_shares_as_the_threshold_tell_secrets_apart() -> None:
    """The counterpart: for two secrets the same count has no pair in common."""
    ours, theirs = (pairs_of_values(secret, threshold=2) for secret in (0x00, 0xB7))
    assert not (ours * theirs).any()


def test_the_randomness_is_the_operating_systems_and_all_of_it_is_used(monkeypatch) -> None:
    asked, secrets = [], random_secrets(8)

    def urandom(size: int) -> bytes:
        asked.append(size)
        return bytes(range(256)) * (size // 256)

    monkeypatch.setattr(secret_sharing.os, "urandom", urandom)
    shares = split(secrets, holders=5, threshold=4)
    assert asked == [3 * secrets.size]
    # At 1 the coefficients add up, and here all three of a byte are the byte's place.
    np.testing.assert_array_equal((shares[0] ^ secrets).reshape(-1), np.arange(256))


def test_two_splits_of_one_secret_have_nothing_in_common() -> None:
    secrets = random_secrets(1)
    ours, theirs = (split(secrets, holders=3, threshold=2) for _ in range(2))
    assert (ours != theirs).all(axis=0).any()
    mixed = np.stack([ours[0], theirs[1]])
    assert (combine(mixed, holders=[0, 1]) != secrets).any()


def test_too_few_shares_or_a_wrong_one_give_other_bytes_without_an_error() -> None:
    secrets = random_secrets(1)
    shares = split(secrets, holders=5, threshold=4)
    assert (combine(shares[:3], holders=[0, 1, 2]) != secrets).sum() > 16
    shares[2] ^= 1
    assert (combine(shares[:4], holders=range(4)) != secrets).all()


def test_the_callers_secrets_and_shares_stay_as_they_are() -> None:
    secrets = random_secrets(2)
    kept = secrets.copy()
    secrets.flags.writeable = False
    shares = split(secrets, holders=4, threshold=2)
    shares.flags.writeable = False
    combine(shares[:2], holders=[0, 1])
    np.testing.assert_array_equal(secrets, kept)


def test_rows_that_are_not_contiguous_are_taken_too() -> None:
    secrets = random_secrets(6)[::2]
    shares = split(secrets, holders=5, threshold=3)
    np.testing.assert_array_equal(combine(shares[::2], holders=[0, 2, 4]), secrets)


def test_no_secrets_have_no_shares() -> None:
    shares = split(np.empty((0, SECRET_BYTES), np.uint8), holders=3, threshold=2)
    assert shares.shape == (3, 0, SECRET_BYTES)
    assert combine(shares, holders=range(3)).shape == (0, SECRET_BYTES)


@pytest.mark.parametrize(
    ("holders", "threshold", "reason"),
    [
        (1, 2, "1 holders; the range is 2 to 255"),
        (256, 2, "256 holders"),
        (5, 1, "a threshold of 1; the range is 2 to 5"),
        (5, 6, "a threshold of 6"),
    ],
)
def test_numbers_out_of_range_are_refused(holders: int, threshold: int, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        split(random_secrets(1), holders=holders, threshold=threshold)
    assert caught.value.code == ErrorCode.USAGE


@pytest.mark.parametrize(
    ("holders", "reason"),
    [
        ([0], "1 shares; the least is 2"),
        ([0, 1, 1], "twice"),
        ([0, 1, 255], "outside 0 to 254"),
        ([-1, 0, 1], "outside 0 to 254"),
    ],
)
def test_holders_that_cannot_be_are_refused(holders: list[int], reason: str) -> None:
    shares = split(random_secrets(1), holders=3, threshold=2)[: len(holders)]
    with pytest.raises(UsageError, match=reason):
        combine(shares, holders=holders)


def test_a_holder_for_each_share() -> None:
    shares = split(random_secrets(1), holders=3, threshold=2)
    with pytest.raises(UsageError, match="2 holders for 3 shares"):
        combine(shares, holders=[0, 1])


@pytest.mark.parametrize("secrets", [np.zeros((1, 16), np.uint8), np.zeros((1, 32)), np.zeros(32, np.uint8)])
def test_other_secrets_are_refused(without_type_checks, secrets: np.ndarray) -> None:
    with pytest.raises(UsageError, match="secrets"):
        split(secrets, holders=3, threshold=2)


@pytest.mark.parametrize(
    "shares", [np.zeros((2, 1, 16), np.uint8), np.zeros((2, 1, 32)), np.zeros((2, 32), np.uint8)]
)
def test_other_shares_are_refused(without_type_checks, shares: np.ndarray) -> None:
    with pytest.raises(UsageError, match="shares"):
        combine(shares, holders=[0, 1])


def test_no_error_quotes_a_secret(without_type_checks) -> None:
    with pytest.raises(UsageError) as caught:
        split(np.full((1, 31), 0xAB, np.uint8), holders=3, threshold=2)
    assert "171" not in str(caught.value)
