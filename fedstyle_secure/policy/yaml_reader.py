"""A strict reader for the small part of YAML that a policy needs.

Flows in: the text of a policy file. Flows out: plain dicts, lists and scalars, with the line of every key,
and the problems that YAML itself does not call errors. Never let in: aliases, anchors, tags, merge keys, more
than one document.

Why not `yaml.safe_load`: it follows YAML 1.1, where `1e-5` is text, `no` is false and `1:30` is ninety; it
lets the last of two equal keys win in silence; and an alias can blow a small file up to fill the memory.
Scalars here are those of the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, final

import yaml

from fedstyle_secure.errors import ErrorCode
from fedstyle_secure.policy.problems import InvalidPolicyError, PolicyProblem, dotted_key, shown

__all__ = ["MAXIMUM_SIZE_BYTES", "KeyPath", "Plain", "YamlDocument", "read_yaml"]

MAXIMUM_SIZE_BYTES: Final = 64 * 1024
_DEEPEST: Final = 8  # a policy is three blocks deep; a bomb of brackets is not
_LONGEST_NUMBER: Final = 64

Plain: TypeAlias = "dict[str, Plain] | list[Plain] | str | int | float | bool | None"
KeyPath: TypeAlias = tuple[str | int, ...]

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_NUMBERS: Final[tuple[tuple[re.Pattern[str], Callable[[str], int | float]], ...]] = (
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text, 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)


@final
@dataclass(frozen=True)
class YamlDocument:
    """One document, read.

    Args:
        content: what the document says.
        lines: the line of every key and list item, counted from 1, by its path from the top; the empty path
            is the top itself.
        problems: repeated keys and the like: everything after which reading could go on.
    """

    content: Plain
    lines: Mapping[KeyPath, int]
    problems: tuple[PolicyProblem, ...]


def read_yaml(text: str, *, source: str) -> YamlDocument:
    """Read one YAML document strictly.

    Args:
        text: at most 64 KiB when encoded as UTF-8; a byte-order mark at its start is skipped.
        source: name of the file in messages.

    Returns:
        The document, with the problems that did not stop the reading.

    Raises:
        InvalidPolicyError: the text is too long, is no YAML, or uses a part of YAML that is left out on
            purpose.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAXIMUM_SIZE_BYTES:
        wrong = f"the file is larger than {MAXIMUM_SIZE_BYTES // 1024} KiB"
        raise _unreadable(
            source, line=0, wrong=wrong, fix="A policy is a page of text; is this the right file?"
        )
    text = text.removeprefix("\ufeff")
    try:
        node = _compose(text)
    except _Refused as refused:
        raise _unreadable(source, line=refused.line, wrong=refused.wrong, fix=refused.fix) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        wrong = f"this is not YAML: {error.problem or error.context}"
        raise _unreadable(source, line=mark.line + 1 if mark else 0, wrong=wrong, fix=_FIX_SYNTAX) from None
    except yaml.reader.ReaderError as error:
        # PyYAML was given a string, so its position counts characters.
        line = text.count("\n", 0, error.position) + 1
        wrong = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        raise _unreadable(source, line=line, wrong=wrong, fix="Remove it.") from None
    except (ValueError, OverflowError):
        # PyYAML lets these out for escapes above U+10FFFF and for absurd version numbers in a %YAML line.
        wrong = "this is not YAML: an escape or a number in it is out of range"
        raise _unreadable(source, line=0, wrong=wrong, fix=_FIX_SYNTAX) from None
    if node is None:
        raise _unreadable(
            source, line=0, wrong="the file is empty", fix="Write one with `fedstyle-secure init`."
        )
    walk = _Walk()
    content = walk.plain(node, ())
    return YamlDocument(content=content, lines=walk.lines, problems=tuple(walk.problems))


_FIX_SYNTAX: Final = (
    "Write `key: value` lines, indented by spaces; put text with special characters in quotes."
)


class _Refused(Exception):
    """A part of YAML that is left out on purpose stands at a line."""

    def __init__(self, mark: Any, wrong: str, fix: str) -> None:
        super().__init__(wrong)
        self.line = mark.line + 1
        self.wrong = wrong
        self.fix = fix


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, used up to the tree of nodes only; `_Walk` decides what the scalars mean."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the base class has it so

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(
                event.start_mark, f"the alias *{event.anchor} is not allowed", "Write the value out."
            )
        if event.anchor is not None:
            raise _Refused(event.start_mark, f"the anchor &{event.anchor} is not allowed", "Leave it away.")
        if event.tag is not None:
            raise _Refused(
                event.start_mark, f"the tag {shown(event.tag)} is not allowed", "Write the plain value."
            )
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _Refused(event.start_mark, "blocks are nested too deep", "A policy is three blocks deep.")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _compose(text: str) -> yaml.Node | None:
    loader = _StrictLoader(text)
    try:
        node = loader.get_single_node()
    except yaml.composer.ComposerError as error:
        if error.problem == "but found another document" and error.problem_mark is not None:
            raise _Refused(
                error.problem_mark, "a second document begins", "Keep one policy in one file."
            ) from None
        raise
    finally:
        loader.dispose()
    return None if isinstance(node, yaml.ScalarNode) and node.style is None and node.value == "" else node


@dataclass
class _Walk:
    """One walk over the nodes: gathers lines and problems on the way."""

    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[PolicyProblem] = field(default_factory=list)

    def plain(self, node: yaml.Node, path: KeyPath) -> Plain:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*path, position)) for position, item in enumerate(node.value)]
        text: str = node.value
        # Quoted and block scalars have a style; they are text, whatever they look like.
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return _core_scalar(text) if is_plain else text

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Plain]:
        content: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(
                    line, path, "has a list or a block where a key should be", "Write a word as the key."
                )
                continue
            key_path = (*path, key_node.value)
            if key_node.value in content:
                wrong = f"is written twice, first in line {self.lines[key_path]}"
                self._problem(line, key_path, wrong, "Keep one of the two lines.")
                continue
            self.lines[key_path] = line
            content[key_node.value] = self.plain(value_node, key_path)
        return content

    def _problem(self, line: int, path: KeyPath, wrong: str, fix: str) -> None:
        key = dotted_key(path)
        self.problems.append(PolicyProblem(ErrorCode.POLICY_INVALID, line, key, wrong, allowed="", fix=fix))


def _core_scalar(text: str) -> str | int | float | bool | None:
    """Read a plain scalar by the core schema of YAML 1.2, section 10.3.2."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if len(text) > _LONGEST_NUMBER:
        return text  # no number of a policy is that long, and reading an endless one takes endless time
    for pattern, number in _NUMBERS:
        if pattern.fullmatch(text):
            return number(text)
    return text


def _unreadable(source: str, *, line: int, wrong: str, fix: str) -> InvalidPolicyError:
    problem = PolicyProblem(ErrorCode.POLICY_UNREADABLE, line, key="", wrong=wrong, allowed="", fix=fix)
    return InvalidPolicyError(source, [problem])
