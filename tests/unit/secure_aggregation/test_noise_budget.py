"""The parameter table keeps its word: security, correctness at the cap, and the noise bits that it states."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tenseal.sealapi as seal

from fedstyle_secure.secure_aggregation.coefficients import restore
from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.encryption import BfvKey, KeyHolder, SealedSum
from fedstyle_secure.secure_aggregation.packing import TAG_WORDS
from fedstyle_secure.secure_aggregation.parameters import (
    COEFFICIENT_MODULUS,
    PARAMETER_SETS,
    RING_DEGREE,
    ParameterSet,
    choose_parameters,
    field_bits,
)
from fedstyle_secure.secure_aggregation.tenseal_arithmetic import TensealArithmetic
from tests.sealed_sums import random_words, sealed_sum, secret_key


def _names(parameters: ParameterSet) -> str:
    return (
        f"cap{parameters.cohort_cap}-t{parameters.plain_bits}-c0:{parameters.c0_bits}-c1:{parameters.c1_bits}"
    )


def noise_budget(parameters: ParameterSet, key: BfvKey, total: SealedSum) -> int:
    """SEAL's own measure of the least room that any coefficient of the received sum has left."""
    tenseal = TensealArithmetic(parameters)
    c0, c1 = restore(total.c0, parameters.c0_cut_bits), restore(total.c1, parameters.c1_cut_bits)
    decryptor = seal.Decryptor(tenseal.context, secret_key(tenseal, key, parameters))
    return int(decryptor.invariant_noise_budget(tenseal.ciphertext(np.concatenate([c0, c1]))))


def sum_at_the_cap(parameters: ParameterSet, key: BfvKey, rng: np.random.Generator) -> SealedSum:
    """Add as many masked (so uniform) vectors as the cap allows, take masks off, check the opened sum."""
    holder, shape = KeyHolder(parameters, key), (1, RING_DEGREE)
    masks = random_words(shape, parameters=parameters, rng=rng).words
    expected = -masks

    def uploads():
        nonlocal expected
        for _ in range(parameters.cohort_cap):
            masked = random_words(shape, parameters=parameters, rng=rng)
            expected = expected + masked.words
            yield holder.encrypt(masked)

    total = sealed_sum(uploads(), parameters=parameters, masks=masks)
    np.testing.assert_array_equal(holder.decrypt(total), expected & np.uint64(2**parameters.plain_bits - 1))
    return total


@pytest.mark.parametrize("parameters", PARAMETER_SETS, ids=_names)
def test_the_sum_at_the_cap_is_exact_and_leaves_the_stated_noise_bits(parameters: ParameterSet) -> None:
    key = BfvKey.generate()
    measured = noise_budget(parameters, key, sum_at_the_cap(parameters, key, np.random.default_rng(1)))
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
    bytes_a_value = parameters.c0_bits / 8 / fields * RING_DEGREE / (RING_DEGREE - TAG_WORDS)
    assert bytes_a_value == pytest.approx(3.0, abs=0.01)
