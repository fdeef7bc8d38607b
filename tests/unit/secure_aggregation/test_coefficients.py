"""Arithmetic modulo q against Python's integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedstyle_secure.secure_aggregation.coefficients import (
    add,
    cut,
    largest_cut,
    restore,
    scale_down,
    scale_up,
    subtract,
)
from fedstyle_secure.secure_aggregation.parameters import COEFFICIENT_MODULUS as Q
from fedstyle_secure.secure_aggregation.parameters import PARAMETER_SETS

PLAIN_BITS = sorted({parameters.plain_bits for parameters in PARAMETER_SETS})
CUTS = sorted({bits for p in PARAMETER_SETS for bits in (p.c0_cut_bits, p.c1_cut_bits)})

below_q = st.one_of(st.integers(0, Q - 1), st.integers(Q - 2**21, Q - 1), st.integers(0, 2**21))


def array(words: Sequence[int]) -> np.ndarray:
    return np.array([words], np.uint64)


@given(left=st.lists(below_q, min_size=1, max_size=20), right=below_q)
def test_sums_and_differences_are_those_modulo_q(left: list[int], right: int) -> None:
    other = array([right] * len(left))
    assert add(array(left), other).tolist() == [[(word + right) % Q for word in left]]
    assert subtract(array(left), other).tolist() == [[(word - right) % Q for word in left]]


@pytest.mark.parametrize("cut_bits", CUTS)
@given(words=st.lists(below_q, min_size=1, max_size=20))
def test_a_cut_moves_a_coefficient_by_at_most_half_of_what_is_cut(cut_bits: int, words: list[int]) -> None:
    short = cut(array(words), cut_bits)
    assert short.max() <= largest_cut(cut_bits)
    for before, after in zip(words, restore(short, cut_bits)[0].tolist(), strict=True):
        distance = (after - before) % Q
        assert 0 <= after < Q
        assert min(distance, Q - distance) <= 2**cut_bits / 2


@pytest.mark.parametrize("cut_bits", CUTS)
def test_the_largest_cut_is_that_of_the_largest_coefficient(cut_bits: int) -> None:
    assert cut(array([Q - 1]), cut_bits).tolist() == [[largest_cut(cut_bits)]]


@pytest.mark.parametrize("plain_bits", PLAIN_BITS)
@given(data=st.data())
def test_scaling_up_rounds_to_nearest(plain_bits: int, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 2**plain_bits - 1), min_size=1, max_size=20))
    expected = [(2 * Q * word + 2**plain_bits) // 2 ** (plain_bits + 1) for word in words]
    assert scale_up(array(words), plain_bits).tolist() == [expected]


@pytest.mark.parametrize("plain_bits", PLAIN_BITS)
@given(data=st.data())
def test_scaling_down_rounds_to_nearest(plain_bits: int, data: st.DataObject) -> None:
    plain_modulus, scale = 2**plain_bits, Q >> plain_bits
    near_a_tie = st.builds(
        lambda word, step: min(Q - 1, word * scale + scale // 2 + step),
        st.integers(0, plain_modulus - 1),
        st.integers(-2, 2),
    )
    word = data.draw(st.one_of(below_q, near_a_tie))
    expected = (2 * plain_modulus * word + Q) // (2 * Q) % plain_modulus
    (opened,) = scale_down(array([word]), plain_bits)[0].tolist()
    tied = scale % 2 and abs(word % scale - scale // 2) <= 1
    assert opened == expected or (tied and opened == (expected + 1) % plain_modulus)


@pytest.mark.parametrize("plain_bits", PLAIN_BITS)
@given(data=st.data())
def test_what_was_scaled_up_comes_down_again_with_noise_on_it(plain_bits: int, data: st.DataObject) -> None:
    word = data.draw(st.integers(0, 2**plain_bits - 1))
    room = (Q >> plain_bits) // 2 - 2
    noise = data.draw(st.integers(-room, room))
    noisy = (int(scale_up(array([word]), plain_bits)[0, 0]) + noise) % Q
    assert scale_down(array([noisy]), plain_bits).tolist() == [[word]]
