"""The policy file: one file says what is promised, every command reads it.

Flows in: the text of a policy file. Flows out: a frozen `Policy`, or one `PolicyError` that names every
mistake with its line. Never seen here: artworks, keys, anything that a run produces.

Read `reading.py` for the path from text to policy, `model.py` for the keys and what they mean.
"""

from __future__ import annotations

from fedstyle_secure.policy.json_schema import policy_json_schema
from fedstyle_secure.policy.model import (
    ArtworkLimits,
    Audit,
    BudgetSplit,
    Cohort,
    Federation,
    Policy,
    Privacy,
    SecureAggregation,
    Style,
    Training,
)
from fedstyle_secure.policy.problems import InvalidPolicyError, PolicyProblem
from fedstyle_secure.policy.reading import load_policy, parse_policy, read_policy_text
from fedstyle_secure.policy.support import check_supported
from fedstyle_secure.policy.template import policy_template, write_template

__all__ = [
    "ArtworkLimits",
    "Audit",
    "BudgetSplit",
    "Cohort",
    "Federation",
    "InvalidPolicyError",
    "Policy",
    "PolicyProblem",
    "Privacy",
    "SecureAggregation",
    "Style",
    "Training",
    "check_supported",
    "load_policy",
    "parse_policy",
    "policy_json_schema",
    "policy_template",
    "read_policy_text",
    "write_template",
]
