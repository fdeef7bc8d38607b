"""How many clients must be there, and how many of them may be on the aggregator's side.

Flows in: the policy's cohort. Flows out: the number of clients that must agree. Never seen here: anything
secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from fedstyle_secure.errors import ErrorCode, SetupError

__all__ = ["Quorum"]


@final
@dataclass(frozen=True)
class Quorum:
    """Public constants of a session: who is enough.

    Attributes:
        minimum: the least number of clients in a sum, 2 to 1024.
        colluding: how many clients may help the aggregator, 0 to `minimum` - 1. With `minimum` - 1 a sum may
            hold one honest client alone, and then it is that client's vector.

    Raises:
        SetupError: a number is outside its range.
    """

    minimum: int
    colluding: int

    def __post_init__(self) -> None:
        if not 2 <= self.minimum <= 1024:
            raise _invalid(f"a minimum of {self.minimum} clients, outside 2 to 1024")
        if not 0 <= self.colluding < self.minimum:
            raise _invalid(
                f"{self.colluding} colluding clients with a minimum of {self.minimum}; "
                f"the range is 0 to {self.minimum - 1}"
            )

    def threshold(self, clients: int) -> int:
        """How many clients must sign the same survivor list, and take part in a sum.

        An honest client signs one list for each sum. Two lists with `threshold` signatures each would need 2
        threshold - colluding signatures of different clients or more, which is more than there are, so at
        most one list of a sum is ever acted upon (Bonawitz et al. 2017, section 6.2, for a malicious server).

        Args:
            clients: size of the session's roster.

        Raises:
            SetupError: the roster is smaller than the threshold.
        """
        threshold = max(self.minimum, (clients + self.colluding) // 2 + 1)
        if threshold > clients:
            raise _invalid(
                f"the roster holds {clients} clients, and sums need {threshold} of them "
                f"(minimum {self.minimum}, colluding {self.colluding})"
            )
        return threshold


def _invalid(what: str) -> SetupError:
    return SetupError(
        ErrorCode.ROSTER_INVALID,
        what,
        fix="Put more clients on the roster, or lower minimum or colluding in the policy.",
    )
