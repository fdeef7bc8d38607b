"""Every build of SEAL that can be used, against Python's integers and against each other."""

from __future__ import annotations

import builtins
import hashlib
import sys
from types import ModuleType

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, SetupError
from fedstyle_secure.secure_aggregation import fastest_arithmetic as choice
from fedstyle_secure.secure_aggregation.encryption import BfvKey, KeyHolder
from fedstyle_secure.secure_aggregation.parameters import COEFFICIENT_MODULUS as Q
from fedstyle_secure.secure_aggregation.parameters import PARAMETER_SETS, RING_DEGREE
from fedstyle_secure.secure_aggregation.running_sum import BlockSum
from fedstyle_secure.secure_aggregation.seal_arithmetic import SealArithmetic
from fedstyle_secure.secure_aggregation.tenseal_arithmetic import TensealArithmetic
from tests.sealed_sums import random_words

PARAMETERS = PARAMETER_SETS[1]
SEAL_PYTHON = "fedstyle_secure.secure_aggregation.seal_python_arithmetic"
SEED = bytes(range(64))


def with_seal_python(parameters=PARAMETERS) -> SealArithmetic:
    module = pytest.importorskip(SEAL_PYTHON, reason="needs the extra fast", exc_type=ImportError)
    return module.SealPythonArithmetic(parameters)


@pytest.fixture(params=[TensealArithmetic, with_seal_python], ids=["tenseal", "seal-python"])
def arithmetic(request: pytest.FixtureRequest) -> SealArithmetic:
    """SEAL through one of its bindings."""
    return request.param(PARAMETERS)


def random_polynomials(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, Q, (count, RING_DEGREE), np.uint64)


@pytest.mark.parametrize("count", [2, 3, 16])
def test_polynomials_come_back_from_seal_as_they_went_in(arithmetic: SealArithmetic, count: int) -> None:
    written = random_polynomials(count)
    np.testing.assert_array_equal(arithmetic.polynomials(arithmetic.ciphertext(written), count), written)


def test_sums_are_those_modulo_q(arithmetic: SealArithmetic) -> None:
    left, right = random_polynomials(2, seed=1), random_polynomials(2, seed=2)
    total = arithmetic.ciphertext(left)
    arithmetic.add_in_place(total, arithmetic.ciphertext(right))
    np.testing.assert_array_equal(arithmetic.polynomials(total, 2), (left + right) % np.uint64(Q))


def test_a_product_is_that_of_polynomials_modulo_x_to_the_degree_plus_one(arithmetic: SealArithmetic) -> None:
    factor = np.zeros(RING_DEGREE, np.uint64)
    factor[[0, 1, 4095]] = 1, 2**PARAMETERS.plain_bits - 1, 3  # 1 - x + 3 x^4095
    written = random_polynomials(2, seed=3)
    product = arithmetic.ciphertext(written)
    arithmetic.multiply_in_place(product, arithmetic.plaintext(factor))
    by_hand = [[int(word) for word in row] for row in written]
    expected = [
        [
            (row[i] - (row[i - 1] if i else -row[-1]) + 3 * (-row[i + 1] if i + 1 < RING_DEGREE else row[0]))
            % Q
            for i in range(RING_DEGREE)
        ]
        for row in by_hand
    ]
    assert arithmetic.polynomials(product, 2).tolist() == expected


def test_a_seed_stands_for_the_same_polynomial_everywhere(arithmetic: SealArithmetic) -> None:
    (c0,) = random_polynomials(1, seed=4)
    first, second = arithmetic.polynomials(arithmetic.expand(c0, SEED), 2)
    np.testing.assert_array_equal(first, c0)
    # Clients and aggregator must agree on this, whatever SEAL they have: it is part of the wire format.
    golden = "eab43356448ff5ca8bf6ccc255486bfe0139556e37cccb9320523051442f0714"
    assert hashlib.sha256(second.astype("<u8").tobytes()).hexdigest() == golden
    assert second.max() < Q
    assert abs(float(second.mean()) / Q - 0.5) < 0.03


def test_nothing_is_left_where_nothing_should_be(arithmetic: SealArithmetic) -> None:
    arithmetic.polynomials(arithmetic.ciphertext(random_polynomials(2)), 2)
    arithmetic.forget()
    scratch = getattr(arithmetic, "_scratch", None)
    assert scratch is None or scratch.read() == b""


@pytest.mark.parametrize("parameters", PARAMETER_SETS, ids=str)
def test_sums_and_what_they_open_to_are_the_same_with_and_without_the_accelerator(
    parameters, monkeypatch
) -> None:
    accelerated, plain = with_seal_python(parameters), TensealArithmetic(parameters)
    key, rng = BfvKey.generate(), np.random.default_rng(5)
    monkeypatch.setattr(choice, "_FASTEST", TensealArithmetic)
    slow = KeyHolder(parameters, key)
    monkeypatch.setattr(choice, "_FASTEST", type(accelerated))
    fast = KeyHolder(parameters, key)
    assert type(fast._arithmetic) is not type(slow._arithmetic)

    updates = [slow.encrypt(random_words((3, 4000), parameters=parameters, rng=rng)) for _ in range(3)]
    masks = random_words((3, 4000), parameters=parameters, rng=rng).words
    totals = []
    for arithmetic in (accelerated, plain):
        total = BlockSum(parameters, arithmetic)
        for update in updates:
            total.add(update)
        totals.append(total.sealed(masks))
    np.testing.assert_array_equal(totals[0].c0, totals[1].c0)
    np.testing.assert_array_equal(totals[0].c1, totals[1].c1)
    np.testing.assert_array_equal(fast.decrypt(totals[0]), slow.decrypt(totals[0]))


def test_seal_python_is_taken_where_it_is_installed() -> None:
    assert choice._fastest() is type(with_seal_python())


def test_without_seal_python_tenseal_does_everything(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, SEAL_PYTHON, raising=False)
    imported = builtins.__import__

    def not_installed(name, *arguments, **named):
        if name == "seal":
            raise ImportError(name)
        return imported(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", not_installed)
    assert choice._fastest() is TensealArithmetic


@pytest.mark.parametrize(
    "names", [[], ["Ciphertext", "EncryptionParameters", "Evaluator", "Modulus", "Plaintext"]]
)
def test_another_module_of_that_name_is_not_taken(names: list[str], monkeypatch) -> None:
    other = ModuleType("seal")
    for name in [*names, "SEALContext", "compr_mode_type", "scheme_type", "sec_level_type"]:
        setattr(other, name, object)
    monkeypatch.setitem(sys.modules, "seal", other)
    monkeypatch.delitem(sys.modules, SEAL_PYTHON, raising=False)
    assert choice._fastest() is TensealArithmetic


def test_insecure_parameters_are_refused_by_seal_itself(arithmetic: SealArithmetic, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules[type(arithmetic).__module__], "RING_DEGREE", 1024)
    with pytest.raises(SetupError) as caught:
        type(arithmetic)(PARAMETERS)
    assert caught.value.code is ErrorCode.CRYPTOGRAPHY_UNSUPPORTED
    assert "insecure" in str(caught.value)
