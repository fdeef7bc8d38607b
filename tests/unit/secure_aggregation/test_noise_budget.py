"""The parameter table keeps its word: security, correctness at the cap, and the noise bits that it states."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tenseal.sealapi as seal

from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.encryption import BfvKey, BlindAdder, KeyHolder, SealedSum, _restore
from fedstyle_secure.secure_aggregation.packing import CHECK_WORDS
from fedstyle_secure.secure_aggregation.parameters import (
    COEFFICIENT_MODULUS,
    PARAMETER_SETS,
    RING_DEGREE,
    ParameterSet,
    choose_parameters,
    field_bits,
)
from fedstyle_secure.secure_aggregation.vectors import MaskedUpdate


def _names(parameters: ParameterSet) -> str:
    return (
        f"cap{parameters.cohort_cap}-t{parameters.plain_bits}-c0:{parameters.c0_bits}-c1:{parameters.c1_bits}"
    )


def noise_budget(holder: KeyHolder, total: SealedSum) -> int:
    """SEAL's own measure of the least room that any coefficient of the received sum has left."""
    scheme, parameters = holder._scheme, holder._scheme.parameters
    c0 = _restore(total.c0, parameters.c0_cut_bits)
    c1 = _restore(total.c1, parameters.c1_cut_bits)
    file = scheme.layout.ciphertext(c0.tobytes(), c1.tobytes())
    return int(holder._decryptor.invariant_noise_budget(scheme.load(seal.Ciphertext(), file)))


def sum_at_the_cap(
    parameters: ParameterSet, key: BfvKey, rng: np.random.Generator
) -> tuple[KeyHolder, SealedSum]:
    """Encrypt as many masked (so uniform) vectors as the cap allows, add them, check the opened sum."""
    holder, adder = KeyHolder(parameters, key), BlindAdder(parameters)
    expected = np.zeros(RING_DEGREE, np.uint64)

    def uploads():
        nonlocal expected
        for _ in range(parameters.cohort_cap):
            words = rng.integers(0, 2**parameters.plain_bits, (1, RING_DEGREE), dtype=np.uint64)
            expected = expected + words[0]
            yield holder.encrypt(MaskedUpdate(words))

    total = adder.add(uploads())
    np.testing.assert_array_equal(
        holder.decrypt(total)[0], expected & np.uint64(2**parameters.plain_bits - 1)
    )
    return holder, total


@pytest.mark.parametrize("parameters", PARAMETER_SETS, ids=_names)
def test_the_sum_at_the_cap_is_exact_and_leaves_the_stated_noise_bits(parameters: ParameterSet) -> None:
    holder, total = sum_at_the_cap(parameters, BfvKey.generate(), np.random.default_rng(1))
    measured = noise_budget(holder, total)
    assert measured >= 3
    assert abs(measured - parameters.noise_bits) <= 1


def test_a_cut_too_deep_is_noticed_by_the_measurement() -> None:
    """The control: the same measurement on a set that cuts 8 bits too many finds no room."""
    greedy = dataclasses.replace(PARAMETER_SETS[2], c0_bits=48)
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        sum_at_the_cap(greedy, BfvKey.generate(), np.random.default_rng(1))


def test_modulus_is_a_prime_that_seal_and_every_plain_modulus_like() -> None:
    assert seal.Modulus(COEFFICIENT_MODULUS).is_prime()
    assert COEFFICIENT_MODULUS.bit_length() == 60
    assert COEFFICIENT_MODULUS % (2 * RING_DEGREE) == 1
    assert all(COEFFICIENT_MODULUS % 2**parameters.plain_bits == 1 for parameters in PARAMETER_SETS)


def test_security_is_within_the_table_of_the_standard() -> None:
    assert (
        seal.CoeffModulus.MaxBitCount(RING_DEGREE, seal.SEC_LEVEL_TYPE.TC128)
        >= COEFFICIENT_MODULUS.bit_length()
    )
    assert (
        seal.CoeffModulus.MaxBitCount(RING_DEGREE, seal.SEC_LEVEL_TYPE.TC192)
        >= COEFFICIENT_MODULUS.bit_length()
    )


@pytest.mark.parametrize("cohort_cap", [2, 3, 16, 17, 64, 65, 256, 257, 1024])
@pytest.mark.parametrize("value_bits", range(8, 25))
def test_every_valid_sum_has_a_parameter_set_with_room(cohort_cap: int, value_bits: int) -> None:
    settings = SumSettings(length=10, value_bits=value_bits, value_limit=1.0, cohort_cap=cohort_cap)
    parameters = choose_parameters(settings)
    assert parameters.cohort_cap >= cohort_cap
    assert parameters.plain_bits >= field_bits(settings)
    assert 2 ** field_bits(settings) > cohort_cap * settings.largest_encoded


def test_sixteen_bits_and_sixteen_clients_take_three_bytes_a_value() -> None:
    settings = SumSettings(length=10, value_bits=16, value_limit=1.0, cohort_cap=16)
    parameters = choose_parameters(settings)
    fields = parameters.plain_bits // field_bits(settings)
    bytes_a_value = parameters.c0_bits / 8 / fields * RING_DEGREE / (RING_DEGREE - CHECK_WORDS)
    assert bytes_a_value == pytest.approx(3.0, abs=0.01)
