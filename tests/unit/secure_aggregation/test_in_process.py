from __future__ import annotations

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError, SetupError, UsageError
from fedstyle_secure.secure_aggregation import sum_securely
from fedstyle_secure.secure_aggregation.encoding import NearestRounding
from fedstyle_secure.secure_aggregation.in_process import Cohort
from fedstyle_secure.secure_aggregation.quorum import Quorum
from tests.secure_sums import exact_sum, make_settings, make_vectors

NAMES = ("ana", "ben", "cem", "dia")
SETTINGS = make_settings(30, cohort_cap=4)


@pytest.mark.parametrize("clients", [2, 3, 17])
def test_the_sum_is_right_to_a_rounding_step_a_client(clients: int) -> None:
    rng = np.random.default_rng(clients)
    vectors = {f"client {index}": rng.uniform(-3, 3, 777) for index in range(clients)}
    total = sum_securely(vectors, value_limit=3.0, value_bits=16)
    np.testing.assert_allclose(total, sum(vectors.values()), atol=clients * 3.0 / (2**15 - 1))


def test_more_bits_bring_the_sum_closer() -> None:
    rng = np.random.default_rng(0)
    vectors = {name: rng.uniform(-1, 1, 2000) for name in ("ana", "ben", "cem")}
    errors = [
        np.abs(sum_securely(vectors, value_limit=1.0, value_bits=bits) - sum(vectors.values())).mean()
        for bits in (8, 16, 24)
    ]
    assert errors[0] > 100 * errors[1] > 10_000 * errors[2]


def test_a_cohort_sums_among_those_who_upload_until_its_slots_are_used_up() -> None:
    cohort = Cohort.assemble(
        NAMES, quorum=Quorum(minimum=3, colluding=1), slots=2, rounding=NearestRounding()
    )
    assert cohort.aggregator.threshold == 3
    for round_number, there in enumerate((NAMES, NAMES[1:])):
        vectors = make_vectors(there, 30, seed=round_number)
        sums = cohort.finish(cohort.upload(vectors, SETTINGS, round_number=round_number))
        assert set(sums) == set(there)
        opened = cohort.clients["dia"].open(sums["dia"])
        np.testing.assert_array_equal(opened.values, exact_sum(vectors, SETTINGS))
    with pytest.raises(UsageError) as caught:
        cohort.upload(vectors, SETTINGS, round_number=2)
    assert caught.value.code is ErrorCode.SUM_SETTINGS_INVALID


def test_a_cohort_sets_up_again_and_names_its_slots() -> None:
    cohort = Cohort.assemble(NAMES, slots=1, rounding=NearestRounding())
    for epoch in range(3):
        if epoch:
            cohort.set_up(epoch=epoch)
        vectors = make_vectors(NAMES, 30, seed=epoch)
        sums = cohort.finish(cohort.upload(vectors, SETTINGS, round_number=epoch, slot=0))
        opened = cohort.clients["ana"].open(sums["ana"])
        np.testing.assert_array_equal(opened.values, exact_sum(vectors, SETTINGS))


def test_too_few_uploads_are_not_summed() -> None:
    cohort = Cohort.assemble(NAMES, slots=1)
    with pytest.raises(ProtocolError) as caught:
        cohort.finish(cohort.upload(make_vectors(NAMES[:2], 30), SETTINGS, round_number=0))
    assert caught.value.code is ErrorCode.COHORT_INCOMPLETE
    assert caught.value.message.endswith("and 3 are needed; cem, dia did not")


@pytest.mark.parametrize("names", [(), ("ana",)])
def test_fewer_than_two_vectors_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(SetupError) as caught:
        sum_securely(make_vectors(names, 3), value_limit=1.0)
    assert caught.value.code is ErrorCode.ROSTER_INVALID
    assert f"a roster of {len(names)} clients" in caught.value.message


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        sum_securely({"ana": np.zeros(3), "ben": np.zeros(4)}, value_limit=1.0)
    assert caught.value.code is ErrorCode.UPDATE_WRONG_SHAPE
