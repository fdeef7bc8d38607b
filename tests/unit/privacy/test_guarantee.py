"""The sentences of a guarantee say the guarantee's numbers, rounded against it."""

from __future__ import annotations

import json
import math

import pytest
from scipy.stats import norm

from fedstyle_secure.errors import BudgetError
from fedstyle_secure.privacy.accounting import Neighbouring
from fedstyle_secure.privacy.gaussian_dp import gaussian_epsilon, gaussian_mu
from fedstyle_secure.privacy.guarantee import Guarantee, gaussian_guarantee, round_up


def _guarantee(epsilon: float = 8.0, neighbouring: Neighbouring = "add_or_remove_one") -> Guarantee:
    return gaussian_guarantee(gaussian_mu(epsilon, 1e-5), delta=1e-5, neighbouring=neighbouring)


def test_plain_words_for_epsilon_8() -> None:
    plain = _guarantee().plain
    # mu = 1.666: the best test at 1 % false alarms finds Phi(Phi^-1(0.01) + 1.666) = 25.45 %; e^8 = 2980.96.
    assert "at most 26 in 100 used ones" in plain
    assert "factor of 2,981 (e to the power of 8.00)" in plain
    assert "mu" not in plain


def test_the_stated_exception_is_at_least_as_likely_as_the_true_one() -> None:
    mu = gaussian_mu(8.0, 1e-5)
    stated = int(_guarantee().plain.rsplit("1 in ", 1)[1].rstrip(".").replace(",", ""))
    assert 1 / stated >= norm.sf(8 / mu - mu / 2) > 1e-5


def test_exact_words() -> None:
    exact = _guarantee(2.0).exact
    assert exact.startswith("(2.00, 1e-05)-differential privacy with one artwork as the unit")
    assert "<= e^2.00 P'[released in S] + 1e-05" in exact
    assert "one artwork more or less" in exact
    assert "all other participants working together" in exact


def test_replacing_one_is_said() -> None:
    guarantee = _guarantee(neighbouring="replace_one")
    assert "replaced by another" in guarantee.exact
    assert "which of two artworks" in guarantee.plain


def test_what_is_not_covered_is_said_with_its_number() -> None:
    guarantee = _guarantee()
    ten = gaussian_epsilon(10 * gaussian_mu(8.0, 1e-5), 1e-5)
    assert "takes part is not hidden" in guarantee.not_covered
    assert "style" in guarantee.not_covered
    assert f"epsilon {math.ceil(ten)}" in guarantee.not_covered


def test_other_units_have_their_names() -> None:
    guarantee = gaussian_guarantee(
        0.5, delta=1e-5, neighbouring="add_or_remove_one", unit="recording", holder="singer"
    )
    for text in (guarantee.exact, guarantee.plain, guarantee.not_covered):
        assert "recording" in text
        assert "artwork" not in text


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0, 3.0, 8.0, 40.0, 100.0])
def test_every_epsilon_can_be_said(epsilon: float) -> None:
    guarantee = _guarantee(epsilon)
    assert guarantee.epsilon <= float(round_up(guarantee.epsilon)) <= 1.01 * epsilon
    assert round_up(guarantee.epsilon) in guarantee.plain


def test_json_has_the_agreed_keys() -> None:
    plain_values = json.loads(json.dumps(_guarantee().to_json()))
    assert {"epsilon", "delta", "unit", "neighbouring", "adversary"} <= plain_values.keys()
    assert plain_values["epsilon"] <= 8.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(7.9951, "8.00"), (8.0, "8.00"), (1.1, "1.10"), (0.12341, "0.124"), (412.3, "413"), (9.999, "10.00")],
)
def test_round_up_never_rounds_down(value: float, text: str) -> None:
    assert round_up(value) == text
    assert float(round_up(value)) >= value


def test_no_guarantee_without_releases() -> None:
    with pytest.raises(BudgetError):
        gaussian_guarantee(0.0, delta=1e-5, neighbouring="add_or_remove_one")
