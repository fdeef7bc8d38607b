"""Why a message or a sum is refused, in words.

Flows in: what was wrong, in public terms. Flows out: errors with a stable code. Never seen here: values,
keys, payloads.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedstyle_secure.errors import ErrorCode, ProtocolError, UsageError

__all__ = [
    "cohort_incomplete",
    "malformed",
    "out_of_order",
    "replayed",
    "sum_mismatch",
    "survivors_inconsistent",
    "unexpected",
    "unusable",
]

_NAMES_SHOWN = 8


def malformed(what: str) -> ProtocolError:
    """Bytes that cannot be read."""
    return ProtocolError(
        ErrorCode.MESSAGE_MALFORMED,
        f"a message cannot be read: {what}",
        fix="Check that all sides run the same version and that nothing changes the bytes on their way.",
    )


def unexpected(what: str) -> ProtocolError:
    """A readable message in the wrong place."""
    return ProtocolError(
        ErrorCode.MESSAGE_UNEXPECTED,
        what,
        fix="Send each message in the session, stage and round that it was written for.",
    )


def replayed(what: str) -> ProtocolError:
    """A message for a place that is done."""
    return ProtocolError(
        ErrorCode.MESSAGE_REPLAYED,
        what,
        fix="Send each message once. For another sum use a new stage or round number.",
    )


def out_of_order(what: str) -> ProtocolError:
    """A step that is not the next one."""
    return ProtocolError(
        ErrorCode.STAGE_OUT_OF_ORDER,
        what,
        fix="Call advertise, share, agree and accept, then upload, confirm, unmask and open for each sum.",
    )


_RELEASED = (
    "A vector that was uploaded counts as released: do not send it again under another round, make a new "
    "release (fresh noise, counted again)."
)


def cohort_incomplete(missing: Sequence[str], what: str, *, present: int, needed: int) -> ProtocolError:
    """Too few clients took part."""
    shown = ", ".join(missing[:_NAMES_SHOWN])
    more = f" and {len(missing) - _NAMES_SHOWN} more" if len(missing) > _NAMES_SHOWN else ""
    return ProtocolError(
        ErrorCode.COHORT_INCOMPLETE,
        f"{present} clients took part in {what}, and {needed} are needed; {shown}{more} did not",
        fix=f"Wait for them, or start a session with a roster of those who are there. {_RELEASED}",
    )


def survivors_inconsistent(what: str) -> ProtocolError:
    """A list of clients that an honest client does not act upon."""
    return ProtocolError(
        ErrorCode.SURVIVORS_INCONSISTENT,
        what,
        fix=f"This client revealed nothing; look into the aggregator. {_RELEASED}",
    )


def sum_mismatch() -> ProtocolError:
    """A sum that does not add up. Says nothing about values."""
    return ProtocolError(
        ErrorCode.SUM_MISMATCH,
        "the sum does not add up: a contribution was dropped, doubled, scaled, replaced or added to",
        fix=f"Do not use this sum; set up again, and look into the aggregator and the clients. {_RELEASED}",
    )


def unusable(what: str) -> UsageError:
    """An argument that cannot be one."""
    return UsageError(ErrorCode.USAGE, what, fix="Pass a value of that form.")
