"""The keys of a policy as a list, read off the models.

Flows in: the models. Flows out: one `KeyInfo` a key, in the order of the file: where it stands, what it
allows, what a new policy writes. Messages, template and documentation are made from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, final, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fedstyle_secure.policy.model import Policy

__all__ = ["KeyInfo", "policy_keys", "yaml_value"]


@final
@dataclass(frozen=True)
class KeyInfo:
    """What there is to know about one key.

    Args:
        path: the keys from the top of the file down to this one.
        description: what it means, in plain words.
        allowed: the allowed values in words.
        start_value: what a new policy writes; None for a block of keys.
        required: whether a policy without it is refused.
        is_block: whether it holds further keys.
    """

    path: tuple[str, ...]
    description: str
    allowed: str
    start_value: Any
    required: bool
    is_block: bool

    @property
    def name(self) -> str:
        """The last of its keys."""
        return self.path[-1]

    @property
    def dotted(self) -> str:
        """The whole path, joined by dots."""
        return ".".join(self.path)

    @property
    def example_line(self) -> str:
        """A line that could stand in a policy."""
        return f"{self.name}: {yaml_value(self.start_value)}" if not self.is_block else f"{self.name}:"


@cache
def policy_keys() -> Mapping[str, KeyInfo]:
    """All keys of a policy by dotted name, blocks before what they hold, in the order of the file."""
    return MappingProxyType({info.dotted: info for info in _walk(Policy, ())})


def yaml_value(value: Any) -> str:
    """Write a scalar or a list of scalars the way this project's YAML reader reads it back."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(yaml_value(item) for item in value)}]"
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value != 0 and abs(value) < 1e-3:
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa)}e{int(exponent)}"
    return json.dumps(value)


def _walk(model: type[BaseModel], parent: tuple[str, ...]) -> Iterator[KeyInfo]:
    for name, described in model.model_fields.items():
        block = described.annotation
        path = (*parent, name)
        if isinstance(block, type) and issubclass(block, BaseModel):
            description = " ".join((block.__doc__ or "").split())
            yield KeyInfo(path, description, "a block of keys", None, described.is_required(), is_block=True)
            yield from _walk(block, path)
        else:
            start = described.examples[0] if described.examples else described.default
            yield KeyInfo(
                path=path,
                description=described.description or "",
                allowed=_allowed(described),
                start_value=start,
                required=described.is_required(),
                is_block=False,
            )


def _allowed(described: FieldInfo) -> str:
    kind: Any = described.annotation
    if get_origin(kind) is Literal:
        return ", ".join(yaml_value(value) for value in get_args(kind))
    bounds = {
        name: getattr(rule, name)
        for rule in described.metadata
        for name in ("gt", "ge", "lt", "le")
        if hasattr(rule, name)
    }
    if kind in {int, float}:
        noun = "a whole number" if kind is int else "a number"
        low = f"from {bounds['ge']}" if "ge" in bounds else f"above {bounds['gt']}"
        high = f"to {bounds['le']}" if "le" in bounds else f"to below {bounds['lt']}"
        return f"{noun} {low} {high}"
    return "a list of names: lower-case letters, digits and underscores"
