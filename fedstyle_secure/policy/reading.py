"""From the text of a policy file to a `Policy`, or to one error that names every mistake.

Flows in: a file or a text. Flows out: a frozen policy that this version can keep, or a `PolicyError`; never
another exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fedstyle_secure.errors import ErrorCode
from fedstyle_secure.policy.keys import KeyInfo, policy_keys
from fedstyle_secure.policy.model import Policy
from fedstyle_secure.policy.problems import InvalidPolicyError, PolicyProblem, dotted_key, shown
from fedstyle_secure.policy.support import unsupported
from fedstyle_secure.policy.yaml_reader import MAXIMUM_SIZE_BYTES, KeyPath, YamlDocument, read_yaml

__all__ = ["load_policy", "parse_policy", "read_policy_text"]


def load_policy(path: Path) -> Policy:
    """Read a policy file.

    Args:
        path: a file of at most 64 KiB, in UTF-8.

    Returns:
        The policy.

    Raises:
        InvalidPolicyError: the file cannot be read, is no YAML, breaks a rule, or promises what is not built
            yet.
    """
    return parse_policy(read_policy_text(path), source=_printable(path))


def parse_policy(text: str, *, source: str) -> Policy:
    """Read the text of a policy.

    Args:
        text: the text, at most 64 KiB in UTF-8.
        source: name of the file in messages.

    Returns:
        The policy.

    Raises:
        InvalidPolicyError: the text is no YAML, breaks a rule, or promises what is not built yet.
    """
    document = read_yaml(text, source=source)
    problems = list(document.problems)
    not_yet = list(unsupported(document.content, lines=document.lines))
    # A key that is refused for what it says needs no second message about its form.
    refused = {problem.key for problem in not_yet}
    policy: Policy | None = None
    try:
        policy = Policy.model_validate(document.content)
    except ValidationError as error:
        found = (_problem(detail, document) for detail in error.errors(include_url=False))
        problems += (problem for problem in found if problem.key not in refused)
    problems += not_yet
    if problems or policy is None:
        raise InvalidPolicyError(source, problems)
    return policy


def read_policy_text(path: Path) -> str:
    """Read the text of a policy file, once: what is kept of a run is then what was parsed.

    Args:
        path: a file of at most 64 KiB, in UTF-8.

    Raises:
        InvalidPolicyError: the file cannot be read, is too long, or is no UTF-8.
    """
    source = _printable(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAXIMUM_SIZE_BYTES + 1)
    except FileNotFoundError:
        raise _unreadable(
            source, "there is no such file", f"Write one: fedstyle-secure init {source}"
        ) from None
    except IsADirectoryError:
        raise _unreadable(source, "this is a folder", "Name the policy file in it.") from None
    except (OSError, ValueError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) and error.strerror else "its name is not allowed"
        )
        raise _unreadable(
            source, f"the file cannot be opened: {reason}", "Check its name and who may read it."
        ) from None
    try:
        return content[: MAXIMUM_SIZE_BYTES + 1].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(content) > MAXIMUM_SIZE_BYTES:
            # A character may have been cut in two; the size is the thing to say.
            wrong = f"the file is larger than {MAXIMUM_SIZE_BYTES // 1024} KiB"
            raise _unreadable(source, wrong, "A policy is a page of text; is this the right file?") from None
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(source, "the file is not UTF-8 text", "Save it as UTF-8.", line=line) from None


def _problem(detail: ErrorDetails, document: YamlDocument) -> PolicyProblem:
    """Say what pydantic found in the words of somebody who looks at the file."""
    path: KeyPath = detail["loc"]
    key = dotted_key(path)
    info = policy_keys().get(".".join(part for part in path if isinstance(part, str)))
    kind = detail["type"]
    value = _value_at(document.content, path)
    allowed = info.allowed if info is not None else ""
    fix = f"Write `{info.example_line}`, for example." if info is not None and not info.is_block else ""
    if kind == "missing":
        wrong, allowed, fix = (
            "is missing",
            "" if info and info.is_block else allowed,
            _fix_missing(path, info),
        )
    elif kind == "extra_forbidden":
        wrong, allowed, fix = "is not a key of a policy", "", _fix_unknown(path)
    elif kind == "rule":
        wrong = f"is {shown(value)}" if not isinstance(value, dict) else "does not fit together"
        context: Mapping[str, Any] = detail.get("ctx", {})
        allowed, fix = str(context["allowed"]), str(context["fix"])
    elif not path:
        wrong, allowed, fix = (
            f"the file holds {shown(value)}",
            "",
            "Write `key: value` lines; begin with `version: 1`.",
        )
    elif info is not None and info.is_block:
        keys = ", ".join(inner.name for inner in _children(info.path))
        wrong, allowed, fix = (
            f"is {shown(value)}, not a block of keys",
            keys,
            f"Write these keys below `{info.name}:`.",
        )
    else:
        wrong = _wrong_value(value, kind)
    line = _line_of(document.lines, path)
    return PolicyProblem(ErrorCode.POLICY_INVALID, line, key, wrong, allowed=allowed, fix=fix)


def _wrong_value(value: object, kind: str) -> str:
    if value is None:
        return "has no value"
    if isinstance(value, str) and kind in {"int_type", "float_type"}:
        return f"is {shown(value)}, which is text"
    return f"is {shown(value)}"


def _fix_missing(path: KeyPath, info: KeyInfo | None) -> str:
    if info is None:
        return "Add it."
    if info.is_block:
        keys = ", ".join(inner.name for inner in _children(info.path))
        return f"Add a block `{info.name}:` with the keys {keys}."
    place = f" below `{dotted_key(path[:-1])}:`" if len(path) > 1 else " at the top"
    return f"Add the line `{info.example_line}`{place}."


def _fix_unknown(path: KeyPath) -> str:
    """Guess what was meant: a key of this block that is spelt alike, or a key of another block."""
    name = str(path[-1])
    siblings = [info.name for info in _children(tuple(str(part) for part in path[:-1]))]
    alike = get_close_matches(name.lower().replace("-", "_"), siblings, n=1)
    if alike:
        return f"Did you mean `{alike[0]}`?"
    elsewhere = [info for info in policy_keys().values() if info.name == name]
    if elsewhere:
        home = dotted_key(elsewhere[0].path[:-1])
        return (
            f"It belongs below `{home}:`."
            if home
            else "It belongs at the top of the file, without indentation."
        )
    return f"Remove it. The keys here are: {', '.join(siblings)}."


def _children(path: tuple[str, ...]) -> list[KeyInfo]:
    return [info for info in policy_keys().values() if info.path[:-1] == path]


def _value_at(content: object, path: KeyPath) -> object:
    for part in path:
        if isinstance(content, dict):
            content = content.get(part)
        elif isinstance(content, list) and isinstance(part, int) and part < len(content):
            content = content[part]
        else:
            return None
    return content


def _line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line of a key, or of the nearest block around it that is there."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 0


def _printable(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _unreadable(source: str, wrong: str, fix: str, *, line: int = 0) -> InvalidPolicyError:
    problem = PolicyProblem(ErrorCode.POLICY_UNREADABLE, line, key="", wrong=wrong, allowed="", fix=fix)
    return InvalidPolicyError(source, [problem])
