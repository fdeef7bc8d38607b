from __future__ import annotations

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError, SetupError
from fedstyle_secure.secure_aggregation import encryption
from fedstyle_secure.secure_aggregation.encryption import (
    KEY_BYTES,
    BfvKey,
    BlindAdder,
    KeyHolder,
    SealedSum,
    largest_cut,
)
from fedstyle_secure.secure_aggregation.parameters import (
    COEFFICIENT_MODULUS,
    PARAMETER_SETS,
    RING_DEGREE,
    ParameterSet,
)
from fedstyle_secure.secure_aggregation.vectors import EncryptedUpdate, MaskedUpdate

PARAMETERS = PARAMETER_SETS[1]


def random_words(
    shape: tuple[int, int], *, seed: int = 0, parameters: ParameterSet = PARAMETERS
) -> MaskedUpdate:
    rng = np.random.default_rng(seed)
    return MaskedUpdate(rng.integers(0, 2**parameters.plain_bits, shape, dtype=np.uint64))


@pytest.mark.parametrize("coefficients", [3, 2050, RING_DEGREE])
def test_sums_are_exact_modulo_the_plain_modulus_for_any_number_of_coefficients(coefficients: int) -> None:
    holder, adder = KeyHolder(PARAMETERS, BfvKey.generate()), BlindAdder(PARAMETERS)
    masked = [random_words((3, coefficients), seed=seed) for seed in range(16)]
    opened = holder.decrypt(adder.add(holder.encrypt(m) for m in masked))
    expected = sum(m.words for m in masked) & np.uint64(2**PARAMETERS.plain_bits - 1)
    np.testing.assert_array_equal(opened, expected)


def test_another_clients_copy_of_the_key_opens_the_sum() -> None:
    key = BfvKey.generate()
    masked = random_words((1, 100))
    sealed = BlindAdder(PARAMETERS).add([KeyHolder(PARAMETERS, key).encrypt(masked)])
    copy = BfvKey.from_bytes(key.to_bytes())
    np.testing.assert_array_equal(KeyHolder(PARAMETERS, copy).decrypt(sealed), masked.words)


def test_one_key_serves_all_parameter_sets() -> None:
    key = BfvKey.generate()
    for parameters in PARAMETER_SETS:
        masked = random_words((1, RING_DEGREE), parameters=parameters)
        holder = KeyHolder(parameters, key)
        np.testing.assert_array_equal(
            holder.decrypt(BlindAdder(parameters).add([holder.encrypt(masked)])), masked.words
        )


def test_another_key_opens_nothing() -> None:
    masked = random_words((1, RING_DEGREE))
    sealed = BlindAdder(PARAMETERS).add([KeyHolder(PARAMETERS, BfvKey.generate()).encrypt(masked)])
    opened = KeyHolder(PARAMETERS, BfvKey.generate()).decrypt(sealed)
    assert (opened == masked.words).mean() < 0.01


def test_encryption_is_randomised() -> None:
    holder = KeyHolder(PARAMETERS, BfvKey.generate())
    masked = random_words((2, 50))
    first, second = holder.encrypt(masked), holder.encrypt(masked)
    assert not np.array_equal(first.c0, second.c0)
    seeds = {bytes(seed) for encrypted in (first, second) for seed in encrypted.seeds}
    assert len(seeds) == 4


def test_first_polynomials_add_up_without_overflow_for_the_largest_cohort() -> None:
    parameters = PARAMETER_SETS[-1]
    top = largest_cut(parameters.c0_cut_bits)
    update = EncryptedUpdate(np.full((1, 7), top, np.uint64), np.zeros((1, 64), np.uint8))
    total = BlindAdder(parameters).add([update] * 1024)
    assert parameters.c0_cut_bits == 0
    assert total.c0.tolist() == [[1024 * top % COEFFICIENT_MODULUS] * 7]


@pytest.mark.parametrize("polynomial", ["c0", "c1"])
def test_coefficients_out_of_range_never_reach_seal(polynomial: str, monkeypatch) -> None:
    holder = KeyHolder(PARAMETERS, BfvKey.generate())
    sealed = {
        "c0": np.zeros((1, 10), np.uint64),
        "c1": np.zeros((1, RING_DEGREE), np.uint64),
    }
    cut = getattr(PARAMETERS, f"{polynomial}_cut_bits")
    sealed[polynomial][0, 5] = largest_cut(cut) + 1
    monkeypatch.setattr(encryption._Scheme, "load", lambda *_: pytest.fail("SEAL was given the sum"))
    with pytest.raises(ProtocolError) as caught:
        holder.decrypt(SealedSum(**sealed))
    assert caught.value.code is ErrorCode.MESSAGE_MALFORMED


@pytest.mark.parametrize("data", [b"", bytes(KEY_BYTES - 1), bytes(KEY_BYTES + 8), b"\xff" * KEY_BYTES])
def test_bytes_that_are_no_key_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        BfvKey.from_bytes(data)
    assert caught.value.code is ErrorCode.MESSAGE_MALFORMED


def test_insecure_parameters_are_refused_by_seal_itself(monkeypatch) -> None:
    monkeypatch.setattr(encryption, "RING_DEGREE", 1024)
    with pytest.raises(SetupError) as caught:
        BlindAdder(PARAMETERS)
    assert caught.value.code is ErrorCode.CRYPTOGRAPHY_UNSUPPORTED
    assert "insecure" in str(caught.value)
