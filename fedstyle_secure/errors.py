"""Every error a user can meet, in one hierarchy.

Flows in: nothing. Flows out: exceptions that carry a stable code, a sentence that says what was wrong, a
sentence that says what to do, and the exit code of the command line. Never seen here: keys, tensor values,
pixels, update values.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import ClassVar

__all__ = [
    "ArtworkError",
    "BudgetError",
    "ErrorCode",
    "ExitCode",
    "FedStyleSecureError",
    "PolicyError",
    "ProtocolError",
    "SetupError",
    "UsageError",
]


class ExitCode(IntEnum):
    """Exit codes of the command line; they never change their meaning."""

    OK = 0
    LEAK = 1
    USAGE = 2
    INCONCLUSIVE = 3
    BUDGET = 4
    SETUP = 5
    PROTOCOL = 6
    INTERNAL = 70
    INTERRUPTED = 130
    OUTPUT_CLOSED = 141


class ErrorCode(StrEnum):
    """Stable names of errors. Scripts may match on them; messages may change, codes do not."""

    # policy file and command line (exit 2)
    POLICY_UNREADABLE = "policy-unreadable"
    POLICY_INVALID = "policy-invalid"
    POLICY_GRID_TOO_COARSE = "policy-grid-too-coarse"
    POLICY_NOT_YET_SUPPORTED = "policy-not-yet-supported"
    USAGE = "usage"
    FILE_EXISTS = "file-exists"
    RUN_FOLDER_EXISTS = "run-folder-exists"
    RUN_FOLDER_OTHER_POLICY = "run-folder-other-policy"
    RUN_FOLDER_OTHER_ARTWORKS = "run-folder-other-artworks"
    RUN_FOLDER_INVALID = "run-folder-invalid"
    # artworks (exit 2)
    ARTWORKS_FOLDER_MISSING = "artworks-folder-missing"
    ARTWORKS_TOO_FEW_ARTISTS = "artworks-too-few-artists"
    ARTWORKS_TOO_FEW_WORKS = "artworks-too-few-works"
    ARTWORKS_TOO_MANY_ARTISTS = "artworks-too-many-artists"
    ARTIST_NAME_INVALID = "artist-name-invalid"
    ARTWORK_UNREADABLE = "artwork-unreadable"
    # what is handed to a secure sum (exit 2)
    SUM_SETTINGS_INVALID = "sum-settings-invalid"
    UPDATE_NOT_FINITE = "update-not-finite"
    UPDATE_WRONG_SHAPE = "update-wrong-shape"
    # privacy budget (exit 4)
    BUDGET_EXCEEDED = "budget-exceeded"
    EVENT_UNKNOWN = "event-unknown"
    PRIVACY_PARAMETER_INVALID = "privacy-parameter-invalid"
    LOSS_COUPLES_EXAMPLES = "loss-couples-examples"
    MODULE_NOT_SUPPORTED = "module-not-supported"
    # environment (exit 5)
    OUTPUT_NOT_WRITABLE = "output-not-writable"
    EXTRA_MISSING = "extra-missing"
    PUBLIC_DATA_CORRUPT = "public-data-corrupt"
    IDENTITY_INVALID = "identity-invalid"
    ROSTER_INVALID = "roster-invalid"
    CRYPTOGRAPHY_UNSUPPORTED = "cryptography-unsupported"
    # protocol (exit 6)
    MESSAGE_MALFORMED = "message-malformed"
    MESSAGE_UNEXPECTED = "message-unexpected"
    SIGNATURE_INVALID = "signature-invalid"
    NO_DECRYPTION_KEY = "no-decryption-key"
    COHORT_INCOMPLETE = "cohort-incomplete"
    SURVIVORS_INCONSISTENT = "survivors-inconsistent"
    SUM_MISMATCH = "sum-mismatch"
    MESSAGE_REPLAYED = "message-replayed"
    STAGE_OUT_OF_ORDER = "stage-out-of-order"
    MASK_REUSED = "mask-reused"


class FedStyleSecureError(Exception):
    """Base of all errors that this package raises on purpose.

    Args:
        code: the stable name of the error.
        message: what was wrong, with the value where it is safe to show.
        fix: what to do about it, as an instruction to the reader.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE

    def __init__(self, code: ErrorCode, message: str, *, fix: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]\n  {self.fix}"


class UsageError(FedStyleSecureError):
    """The command was called in a way that cannot work."""


class PolicyError(FedStyleSecureError):
    """The policy file cannot be read, breaks the schema, or promises what is not built yet."""


class ArtworkError(FedStyleSecureError):
    """Artworks are missing or cannot be read."""


class BudgetError(FedStyleSecureError):
    """The privacy budget is gone, or a mechanism is asked for that nobody can account for."""

    exit_code = ExitCode.BUDGET


class SetupError(FedStyleSecureError):
    """This machine lacks something: a writable folder, an optional package, intact package data."""

    exit_code = ExitCode.SETUP


class ProtocolError(FedStyleSecureError):
    """Another party sent something that the protocol does not allow."""

    exit_code = ExitCode.PROTOCOL
