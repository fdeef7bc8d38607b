"""What is wrong with a policy file: one problem a line, all of them in one error.

Flows in: problems found by the YAML reader, the models and the support check. Flows out: an error that lists
them in the order of the file. A policy holds no secrets, so a problem may show the value that was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from fedstyle_secure.errors import ErrorCode, PolicyError

__all__ = ["InvalidPolicyError", "PolicyProblem", "dotted_key", "shown"]

_LONGEST_SHOWN: Final = 60


@final
@dataclass(frozen=True)
class PolicyProblem:
    """One mistake in a policy file.

    Args:
        code: `policy-unreadable`, `policy-invalid` or `policy-not-yet-supported`.
        line: line of the file, counted from 1; 0 when the whole file is meant.
        key: dotted key, for example `privacy.epsilon`; empty when the whole file is meant.
        wrong: what was wrong, as a sentence without its full stop.
        allowed: the allowed values, empty where the sentence says it already.
        fix: what to write instead.
    """

    code: ErrorCode
    line: int
    key: str
    wrong: str
    allowed: str
    fix: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        subject = f"{self.key} " if self.key else ""
        allowed = f" (allowed: {self.allowed})" if self.allowed else ""
        return f"{place}{subject}{self.wrong}{allowed}. {self.fix}"


@final
class InvalidPolicyError(PolicyError):
    """A policy file with its problems, in the order of the file.

    Args:
        source: name of the file, as the reader of the message knows it.
        problems: at least one. The code of the error is that of its gravest problem: unreadable, invalid, not
            yet supported.
    """

    def __init__(self, source: str, problems: Sequence[PolicyProblem]) -> None:
        self.source = source
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.key)))
        codes = {problem.code for problem in self.problems}
        order = (ErrorCode.POLICY_UNREADABLE, ErrorCode.POLICY_INVALID, ErrorCode.POLICY_NOT_YET_SUPPORTED)
        code = next(code for code in order if code in codes)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "".join(f"\n  {source}, {problem}" for problem in self.problems)
        super().__init__(code, f"{count} in the policy {source}{lines}", fix=_way_out(code))


def dotted_key(path: Sequence[str | int]) -> str:
    """Join a path of keys with dots; positions in a list are written in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if part.isprintable() and part and len(part) <= _LONGEST_SHOWN else shown(part)
            text += f".{name}" if text else name
    return text


def shown(value: object) -> str:
    """Write a value as a person would recognise it in the file: one short line of printable characters."""
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a block of keys"
        case list():
            return "a list"
        case str():
            text = ascii(value)
        case _:
            text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def _way_out(code: ErrorCode) -> str:
    if code is ErrorCode.POLICY_UNREADABLE:
        return "`fedstyle-secure init` writes a policy that works, with every key explained."
    return (
        "Correct these lines. `fedstyle-secure init NEW.yaml` writes a policy that works, with every key "
        "explained."
    )
