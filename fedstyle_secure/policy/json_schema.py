"""The JSON Schema of a policy, for editors and other programs.

Flows in: the models. Flows out: a JSON Schema of draft 2020-12. Rules between keys (a cohort's sizes, shares
that add up to 1) cannot be said in it; `parse_policy` checks them.
"""

from __future__ import annotations

from typing import Any, Final

from fedstyle_secure.policy.keys import policy_keys
from fedstyle_secure.policy.model import Policy

__all__ = ["policy_json_schema"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def policy_json_schema() -> dict[str, Any]:
    """Describe a policy as a JSON Schema.

    Returns:
        A schema of draft 2020-12 in which every key has a description, and unknown and missing keys are
        errors.
    """
    schema = Policy.model_json_schema(mode="validation")
    titled = {"$schema": _DIALECT, "title": "A policy of fedstyle-secure"}
    body = {key: value for key, value in schema.items() if key not in titled}
    for name, info in policy_keys().items():
        if info.is_block and len(info.path) == 1:
            # A reference to a block carries no text of its own; editors show this one.
            body["properties"][name]["description"] = info.description
    return titled | body
