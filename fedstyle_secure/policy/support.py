"""What a policy may say but this version cannot keep yet: refused by name, never quietly weakened.

Flows in: a policy, or what a file says. Flows out: problems that name the key and what to write instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from fedstyle_secure.errors import ErrorCode
from fedstyle_secure.policy.model import Policy
from fedstyle_secure.policy.problems import InvalidPolicyError, PolicyProblem
from fedstyle_secure.policy.yaml_reader import KeyPath

__all__ = ["check_supported", "unsupported"]


@final
@dataclass(frozen=True)
class _NotYet:
    path: tuple[str, ...]
    value: Any  # None stands for any number above 0
    fix: str

    def matches(self, value: Any) -> bool:
        if self.value is None:
            return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        return bool(value == self.value)


_NOT_YET: Final = (
    _NotYet(("privacy", "unit"), "artist", "Write `unit: artwork`."),
    _NotYet(("privacy", "noise"), "distributed", "Write `noise: local`: each artist adds all of the noise."),
    _NotYet(
        ("privacy", "split"),
        "auto",
        "Write the shares: `split: {centre: 0.1, whiten: 0.0, train: 0.1, represent: 0.8}`.",
    ),
    _NotYet(("privacy", "split", "whiten"), None, "Write `whiten: 0.0` and give its share to another stage."),
    _NotYet(("secure_aggregation", "reveal_to"), "everyone", "Write `reveal_to: artists`."),
)


def check_supported(policy: Policy, *, source: str = "policy") -> None:
    """Refuse a policy that promises what this version does not keep.

    `parse_policy` calls it; call it yourself for a policy that was built in code.

    Args:
        policy: any valid policy.
        source: name of the policy in messages.

    Raises:
        InvalidPolicyError: with the code `policy-not-yet-supported`, naming every such key.
    """
    problems = list(unsupported(policy.model_dump(mode="json"), lines={}))
    if problems:
        raise InvalidPolicyError(source, problems)


def unsupported(content: object, *, lines: Mapping[KeyPath, int]) -> Iterator[PolicyProblem]:
    """Yield a problem for everything in a policy's plain content that is not built yet."""
    for entry in _NOT_YET:
        value: object = content
        for key in entry.path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None and entry.matches(value):
            wrong = f"is {value}, which is not yet supported"
            yield PolicyProblem(
                ErrorCode.POLICY_NOT_YET_SUPPORTED,
                lines.get(entry.path, 0),
                ".".join(entry.path),
                wrong,
                allowed="",
                fix=entry.fix,
            )
