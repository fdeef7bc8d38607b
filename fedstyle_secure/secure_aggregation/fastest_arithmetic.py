"""Which build of SEAL adds and multiplies: the fastest that is installed.

Flows in: a parameter set. Flows out: SEAL under it. Never seen here: keys, coefficients.
"""

from __future__ import annotations

from typing import Final

from fedstyle_secure.secure_aggregation.parameters import ParameterSet
from fedstyle_secure.secure_aggregation.seal_arithmetic import SealArithmetic
from fedstyle_secure.secure_aggregation.tenseal_arithmetic import TensealArithmetic

__all__ = ["fastest_arithmetic"]


def _fastest() -> type[SealArithmetic]:
    try:
        from fedstyle_secure.secure_aggregation.seal_python_arithmetic import (  # noqa: PLC0415 (may be missing)
            SealPythonArithmetic,
        )
    except ImportError:
        return TensealArithmetic
    return SealPythonArithmetic


_FASTEST: Final = _fastest()


def fastest_arithmetic(parameters: ParameterSet) -> SealArithmetic:
    """SEAL under a parameter set.

    Raises:
        SetupError: as `SealArithmetic`.
    """
    return _FASTEST(parameters)
