"""The opened sum is the exact integer sum of the clear encodings, whatever the sizes, widths, values and
orders."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from fedstyle_secure.secure_aggregation import protection
from fedstyle_secure.secure_aggregation.encoding import Rounding, SumSettings, decode, encode
from fedstyle_secure.secure_aggregation.in_process import Cohort
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate, EncodedUpdate

_COHORTS = {size: Cohort.assemble([f"client {index}" for index in range(size)]) for size in (2, 3, 5, 17)}
_ROUNDS = iter(range(10**9))


@strategies.composite
def sums(draw):
    """A cohort, settings with room for it, and vectors that often stand at or beyond the limit."""
    size = draw(strategies.sampled_from(sorted(_COHORTS)))
    sum_settings = SumSettings(
        length=draw(strategies.one_of(strategies.integers(1, 300), strategies.integers(4000, 20_000))),
        value_bits=draw(strategies.integers(8, 24)),
        value_limit=draw(strategies.sampled_from([1e-6, 0.1, 1.0, 777.0])),
        cohort_cap=draw(strategies.sampled_from([cap for cap in (size, 64, 256, 1024) if cap >= size])),
    )
    rng = np.random.default_rng(draw(strategies.integers(0, 2**32)))
    shape = draw(strategies.sampled_from(["limit", "minus limit", "mixed", "beyond", "zero"]))
    vectors = {}
    for name in _COHORTS[size].clients:
        unit = {
            "limit": np.ones(sum_settings.length),
            "minus limit": -np.ones(sum_settings.length),
            "mixed": rng.choice([-1.0, 1.0, 0.0, 0.3, -0.999], sum_settings.length),
            "beyond": rng.uniform(-5, 5, sum_settings.length),
            "zero": np.zeros(sum_settings.length),
        }[shape]
        vectors[name] = unit * sum_settings.value_limit
    return size, sum_settings, vectors


def _recording_encode(record: list[np.ndarray]):
    def encode_and_record(
        update: ClippedUpdate, sum_settings: SumSettings, *, rounding: Rounding
    ) -> EncodedUpdate:
        encoded = encode(update, sum_settings, rounding=rounding)
        record.append(encoded.values.astype(np.int64))
        return encoded

    return encode_and_record


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=sums(), order=strategies.randoms(use_true_random=False))
def test_the_opened_sum_is_the_exact_sum_of_the_clear_encodings(case, order) -> None:
    size, sum_settings, vectors = case
    cohort = _COHORTS[size]
    round_number = next(_ROUNDS)
    expected = np.zeros(sum_settings.length, np.int64)
    uploads = {}
    names = list(cohort.clients)
    order.shuffle(names)
    for name in names:
        recorded: list[np.ndarray] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(protection, "encode", _recording_encode(recorded))
            uploads |= cohort.upload({name: vectors[name]}, sum_settings, round_number=round_number)
        expected += np.concatenate(recorded)

    downloads = cohort.aggregator.handle("upload", uploads)

    opener = order.choice(names)
    opened = cohort.clients[opener].open(downloads[opener])
    np.testing.assert_array_equal(opened.values, expected)
    assert opened.clients == size
    clamped = sum(np.clip(v, -sum_settings.value_limit, sum_settings.value_limit) for v in vectors.values())
    step = 1 / sum_settings.steps_per_unit
    np.testing.assert_allclose(decode(opened, sum_settings), clamped, rtol=0, atol=size * step * 1.000001)


@settings(max_examples=10, deadline=None)
@given(order=strategies.permutations(sorted(_COHORTS[5].clients)))
def test_the_order_of_messages_does_not_change_the_sum(order) -> None:
    cohort, round_number = _COHORTS[5], next(_ROUNDS)
    sum_settings = SumSettings(length=500, value_bits=16, value_limit=1.0, cohort_cap=5)
    rng = np.random.default_rng(0)
    uploads = cohort.upload(
        {name: rng.uniform(-1, 1, 500) for name in cohort.clients}, sum_settings, round_number=round_number
    )
    downloads = cohort.aggregator.handle("upload", {name: uploads[name] for name in order})
    opened = [client.open(downloads[name]).values for name, client in cohort.clients.items()]
    assert all(np.array_equal(opened[0], other) for other in opened)
