"""Refusing privacy parameters that mean nothing.

Flows in: numbers that somebody chose. Flows out: the same numbers, or an error that says what is allowed.
Never seen here: anything computed from private data.
"""

from __future__ import annotations

import math

from fedstyle_secure.errors import BudgetError, ErrorCode

__all__ = ["require_between", "require_count", "require_positive"]


def require_positive(name: str, value: float) -> float:
    """Return a number that is finite and above 0.

    Raises:
        BudgetError: it is not (0, negative, infinite and NaN are all refused).
    """
    if not (math.isfinite(value) and value > 0):
        raise BudgetError(
            ErrorCode.PRIVACY_PARAMETER_INVALID,
            f"{name} is {value}, and no privacy guarantee exists for that",
            fix=f"Give a finite {name} above 0.",
        )
    return float(value)


def require_between(name: str, value: float, lowest: float, highest: float) -> float:
    """Return a number within a closed range.

    Raises:
        BudgetError: it lies outside, or is NaN.
    """
    if not lowest <= value <= highest:
        raise BudgetError(
            ErrorCode.PRIVACY_PARAMETER_INVALID,
            f"{name} is {value}, outside {lowest} to {highest}",
            fix=f"Give a {name} from {lowest} to {highest}.",
        )
    return float(value)


def require_count(name: str, value: int) -> int:
    """Return a whole number that is at least 0.

    Raises:
        BudgetError: it is negative or not a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BudgetError(
            ErrorCode.PRIVACY_PARAMETER_INVALID,
            f"{name} is {value}, and releases are counted in whole numbers from 0",
            fix=f"Give a whole number from 0 as {name}.",
        )
    return value
