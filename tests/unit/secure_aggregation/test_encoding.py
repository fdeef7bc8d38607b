from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from fedstyle_secure.errors import ErrorCode, UsageError
from fedstyle_secure.secure_aggregation.encoding import (
    IntegerSum,
    NearestRounding,
    Rounding,
    SumSettings,
    SystemRounding,
    decode,
    encode,
    require_encodable,
)
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate, EncodedUpdate


def encoded_of(values: np.ndarray, s: SumSettings, rounding: Rounding | None = None) -> EncodedUpdate:
    return encode(ClippedUpdate(values), s, rounding=rounding or SystemRounding())


def test_values_beyond_the_limit_are_clamped_to_it(settings) -> None:
    s = settings(5, value_limit=2.0)
    encoded = encoded_of(np.array([-9.0, -2.0, 0.0, 2.0, 1e300]), s)
    assert encoded.values.tolist() == [0, 0, s.steps, s.largest_encoded, s.largest_encoded]


def test_values_on_the_grid_are_never_moved(settings) -> None:
    s = settings(255, value_bits=8, value_limit=127.0)
    grid = np.arange(-127.0, 128.0)
    for _ in range(20):
        assert encoded_of(grid, s).values.tolist() == list(range(255))


class Dither(Rounding):
    """Adds the same words every time."""

    def __init__(self, words: list[int]) -> None:
        self._words = np.array(words, np.uint32)

    def dither(self, count: int) -> np.ndarray:
        return np.resize(self._words, count)


@pytest.mark.parametrize("value_bits", [8, 16, 24])
@pytest.mark.parametrize("value_limit", [1e-30, 0.1, 1 / 3, 1e30])
def test_the_limit_never_overflows(settings, value_bits: int, value_limit: float) -> None:
    s = settings(3, value_bits=value_bits, value_limit=value_limit)
    values = np.array([value_limit, np.nextafter(value_limit, np.inf), -value_limit])
    encoded = encoded_of(values, s, Dither([2**32 - 1])).values
    assert encoded.max() <= s.largest_encoded
    assert encoded.min() <= 1


@examples(max_examples=200, deadline=None)
@given(
    value=st.floats(-2.0, 2.0),
    word=st.integers(0, 2**32 - 1),
    value_bits=st.integers(8, 24),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_a_value_goes_up_by_the_share_of_words_that_its_fraction_says(value, word, value_bits, dtype) -> None:
    s = SumSettings(length=1, value_bits=value_bits, value_limit=1.0, cohort_cap=2)
    values = np.array([value], dtype)
    exact = max(-s.steps, min(s.steps, Fraction(float(values[0])) * s.steps)) + s.steps
    (encoded,) = encoded_of(values, s, Dither([word])).values.tolist()
    # Off by the rounding of the scaled value to a float64 and to 32 binary places.
    error = Fraction(1, 2**32) + Fraction(s.steps, 2**53)
    shifted = exact + Fraction(word, 2**32)
    assert encoded in ((shifted - error).__floor__(), (shifted + error).__floor__())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value_bits", [8, 16, 24])
@pytest.mark.parametrize("value", [0.1, -0.1, 1 / 3, 2.0**-30, -0.9999, 0.0])
def test_the_expectation_over_all_words_is_the_value(settings, value, value_bits, dtype) -> None:
    # Words that are spread evenly stand for all words: nothing is left to chance.
    count = 2**16
    s = settings(count, value_bits=value_bits, value_limit=0.7)
    values = np.full(count, value * 0.7, dtype)
    encoded = encoded_of(values, s, Dither([index << 16 for index in range(count)])).values
    exact = Fraction(float(values[0])) / Fraction(0.7) * s.steps
    assert abs(Fraction(int(encoded.sum(dtype=np.int64)), count) - s.steps - exact) < Fraction(1, 2**15)


@pytest.mark.parametrize("fraction", [0.03, 0.5, 0.9])
def test_rounding_is_unbiased_and_fresh(settings, fraction: float) -> None:
    count = 200_000
    s = settings(count, value_bits=8, value_limit=127.0)
    values = np.full(count, 5 + fraction)
    first, second = encoded_of(values, s).values, encoded_of(values, s).values
    assert set(first.tolist()) == {132, 133}
    # Five standard errors of a mean of Bernoulli variables: fails once in two million runs.
    tolerance = 5 * np.sqrt(fraction * (1 - fraction) / count)
    assert first.mean() - 127 == pytest.approx(5 + fraction, abs=tolerance)
    assert not np.array_equal(first, second)
    # Neighbouring values are rounded independently.
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 5 / np.sqrt(count)


def test_rounding_to_the_nearest_is_the_same_in_every_run(settings) -> None:
    s = settings(6, value_bits=8, value_limit=127.0)
    values = np.array([-1.6, -1.4, 0.0, 1.4, 1.5, 1.6])
    encoded = [encoded_of(values, s, NearestRounding()).values.tolist() for _ in range(10)]
    assert encoded == [[125, 126, 127, 128, 128, 129]] * 10


def test_decode_takes_the_offset_of_every_client_off(settings) -> None:
    s = settings(3, value_bits=8, value_limit=1.0)
    total = IntegerSum(np.array([0, 3 * 127, 3 * 254]), clients=3)
    assert decode(total, s).tolist() == [-3.0, 0.0, 3.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_any_float_type_is_taken(settings, dtype: type) -> None:
    s = settings(4)
    values = np.array([-0.5, 0.0, 0.25, 1.0], dtype)
    encoded = encoded_of(values, s)
    decoded = decode(IntegerSum(encoded.values.astype(np.int64), 1), s)
    np.testing.assert_allclose(decoded, values, atol=1 / s.steps_per_unit)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_refused_by_name_wherever_they_stand(settings, bad: float) -> None:
    for place in (0, 199_999):
        values = np.zeros(200_000)
        values[place] = bad
        for refuse in (require_encodable, partial(encode, rounding=SystemRounding())):
            with pytest.raises(UsageError) as caught:
                refuse(ClippedUpdate(values), settings(200_000))
            assert caught.value.code is ErrorCode.UPDATE_NOT_FINITE


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    "values", [np.zeros(99), np.zeros((10, 10)), np.zeros(100, np.int64), np.zeros(0), np.zeros(100, complex)]
)
def test_wrong_shapes_and_types_are_refused(settings, values: np.ndarray) -> None:
    with pytest.raises(UsageError) as caught:
        require_encodable(ClippedUpdate(values), settings(100))
    assert caught.value.code is ErrorCode.UPDATE_WRONG_SHAPE


@pytest.mark.parametrize(
    "change",
    [
        {"length": 0},
        {"length": 2**26 + 1},
        {"value_bits": 7},
        {"value_bits": 25},
        {"cohort_cap": 1},
        {"cohort_cap": 1025},
        {"value_limit": 0.0},
        {"value_limit": -1.0},
        {"value_limit": float("nan")},
        {"value_limit": float("inf")},
        {"value_limit": 5e-324},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(UsageError) as caught:
        SumSettings(**{"length": 10, "value_bits": 16, "value_limit": 1.0, "cohort_cap": 3} | change)
    assert caught.value.code is ErrorCode.SUM_SETTINGS_INVALID
    assert next(iter(change)) in str(caught.value)


def test_settings_travel_and_come_back(settings) -> None:
    s = settings(11_700_000, value_bits=13, value_limit=0.1, cohort_cap=1024)
    assert SumSettings.from_bytes(s.to_bytes()) == s
