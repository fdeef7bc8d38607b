"""What a run promises, in exact words and in plain ones.

Flows in: mu, delta and the names of things. Flows out: the guarantee as numbers and sentences. Never seen
here: data. Every number in a sentence is rounded against the promise: risks up, never down.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

from fedstyle_secure.privacy._checks import require_positive
from fedstyle_secure.privacy.accounting import Neighbouring
from fedstyle_secure.privacy.gaussian_dp import gaussian_epsilon, gaussian_power, gaussian_tail

__all__ = ["EVERYBODY", "Guarantee", "gaussian_guarantee", "round_up"]

EVERYBODY: Final = (
    "everybody who sees what is released, the aggregator and all other participants working together included"
)

_FALSE_ALARMS = 0.01
_GROUP = 10


@dataclass(frozen=True)
class Guarantee:
    """A differential-privacy guarantee.

    Attributes:
        epsilon: upper bound, never rounded down.
        delta: as planned.
        unit: what one example is, for instance "artwork".
        neighbouring: which two data sets cannot be told apart.
        adversary: against whom it holds.
        exact: the definition, with this guarantee's numbers.
        plain: what that means for one example, without mathematics.
        not_covered: what the guarantee does not hide.
    """

    epsilon: float
    delta: float
    unit: str
    neighbouring: Neighbouring
    adversary: str
    exact: str
    plain: str
    not_covered: str

    def to_json(self) -> dict[str, Any]:
        """The guarantee as plain values."""
        return asdict(self)


def gaussian_guarantee(
    mu: float,
    *,
    delta: float,
    neighbouring: Neighbouring,
    unit: str = "artwork",
    holder: str = "artist",
    adversary: str = EVERYBODY,
) -> Guarantee:
    """Put a composition of full Gaussian releases into words.

    Args:
        mu: of the composition, above 0.
        delta: above 0, below 1.
        neighbouring: the relation that mu was accounted for.
        unit: what one example is.
        holder: whose examples they are.
        adversary: against whom the noise holds.

    Returns:
        The guarantee.

    Raises:
        BudgetError: mu or delta is out of range.
    """
    epsilon = gaussian_epsilon(require_positive("mu", mu), delta)
    terms = _Terms(mu, epsilon, delta, neighbouring, unit, holder)
    return Guarantee(
        epsilon=epsilon,
        delta=delta,
        unit=unit,
        neighbouring=neighbouring,
        adversary=adversary,
        exact=_exact(terms, adversary),
        plain=_plain(terms),
        not_covered=_not_covered(terms),
    )


def round_up(value: float, *, digits: int = 3) -> str:
    """Write a number with so many significant digits, never smaller than it is.

    Example:
        >>> round_up(7.9951), round_up(0.12341), round_up(412.3)
        ('8.00', '0.124', '413')
    """
    if value <= 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(value)))
    return str(Decimal(repr(value)).quantize(Decimal(1).scaleb(-places), rounding=ROUND_CEILING))


@dataclass(frozen=True)
class _Terms:
    """What the sentences are about."""

    mu: float
    epsilon: float
    delta: float
    neighbouring: Neighbouring
    unit: str
    holder: str


def _exact(terms: _Terms, adversary: str) -> str:
    change = {
        "add_or_remove_one": f"one {terms.unit} more or less",
        "replace_one": f"one {terms.unit} replaced by another",
    }[terms.neighbouring]
    bound = round_up(terms.epsilon)
    return (
        f"({bound}, {terms.delta:g})-differential privacy with one {terms.unit} as the unit, for "
        f"collections of one {terms.holder} with {change}: P[released in S] <= e^{bound} P'[released in S] "
        f"+ {terms.delta:g} for every set S of what the whole run may release, where P and P' belong to two "
        f"such collections. The run is {round_up(terms.mu)}-GDP. Against {adversary}, computationally "
        "bounded (AES-256)."
    )


def _plain(terms: _Terms) -> str:
    question, innocent, guilty = {
        "add_or_remove_one": (f"whether one {terms.unit} was used", f"unused {terms.unit}s", "used ones"),
        "replace_one": (f"which of two {terms.unit}s, A or B, was used", "cases of A", "cases of B"),
    }[terms.neighbouring]
    caught = math.ceil(100 * gaussian_power(terms.mu, _FALSE_ALARMS))
    exception = _one_in(gaussian_tail(terms.mu, terms.epsilon))
    return (
        f"Somebody who sees everything that is released, and knows all other {terms.unit}s of the "
        f"{terms.holder}, wants to know {question}. The best test there is, if it may be wrong about 1 in "
        f"100 {innocent}, recognises at most {caught} in 100 {guilty}; without any release it would "
        f"recognise 1. Their odds change by at most a factor of {_factor(terms.epsilon)} (e to the power of "
        f"{round_up(terms.epsilon)}), up or down, except with a probability of at most {exception}."
    )


def _not_covered(terms: _Terms) -> str:
    together = round_up(gaussian_epsilon(_GROUP * terms.mu, terms.delta))
    return (
        f"That the {terms.holder} takes part is not hidden, nor the style, which is what the "
        f"{terms.holder}'s {terms.unit}s have in common: the promise is about one {terms.unit} at a time. "
        f"For {_GROUP} {terms.unit}s together (near-copies of one, for instance) the same run only gives "
        f"epsilon {together}."
    )


def _one_in(probability: float) -> str:
    inverse = 1 / max(probability, 1e-300)
    step = 10 ** max(0, math.floor(math.log10(inverse)) - 1)
    return f"1 in {math.floor(inverse / step) * step:,}"


def _factor(epsilon: float) -> str:
    if epsilon > 30:
        return f"10^{math.ceil(epsilon / math.log(10))}"
    factor = math.exp(epsilon)
    return f"{math.ceil(factor):,}" if factor >= 10 else round_up(factor, digits=2)
