from __future__ import annotations

import hashlib

import pytest
from pydantic import ValidationError

from fedstyle_secure.policy import (
    BudgetSplit,
    Cohort,
    InvalidPolicyError,
    check_supported,
    parse_policy,
    policy_template,
)
from fedstyle_secure.policy.keys import policy_keys

# Written out by hand, so that the hash is checked by something that shares no code with it.
CANONICAL = (
    '{"artworks":{"largest_collection":250,"minimum_per_artist":4},'
    '"audit":{"fail_on":"high","threat_models":["curious_aggregator","colluding_artists"]},'
    '"federation":{"cohort":{"colluding":1,"expected":10,"minimum":3},"rounds":40},'
    '"privacy":{"clip_norm_l2":1.0,"delta":1e-05,"epsilon":8.0,"neighbouring":"add_or_remove_one",'
    '"noise":"local","on_overspend":"refuse",'
    '"split":{"centre":0.1,"represent":0.8,"train":0.1,"whiten":0.0},"unit":"artwork"},'
    '"secure_aggregation":{"backend":"tenseal-bfv","masks":"pairwise","reveal_to":"artists","value_bits":16},'
    '"style":{"embedding_size":64,"encoder":"auto"},'
    '"training":{"alignment":0.1,"learning_rate":0.03,"momentum":0.9,"temperature":0.1},'
    '"version":1}'
)
PINNED = {
    "federation.rounds": 40,
    "privacy.epsilon": 8.0,
    "privacy.split.centre": 0.1,
    "privacy.split.whiten": 0.0,
    "privacy.split.train": 0.1,
    "privacy.split.represent": 0.8,
    "federation.cohort.colluding": 1,
    "training.learning_rate": 0.03,
    "training.momentum": 0.9,
    "training.temperature": 0.1,
    "training.alignment": 0.1,
    "artworks.minimum_per_artist": 4,
    "artworks.largest_collection": 250,
}


def test_the_fingerprint_is_the_hash_of_the_canonical_json() -> None:
    policy = parse_policy(policy_template(PINNED), source="policy.yaml")
    assert policy.fingerprint() == hashlib.sha256(CANONICAL.encode()).digest()


def test_the_fingerprint_follows_what_is_said_and_not_how() -> None:
    text = policy_template()
    policy = parse_policy(text, source="policy.yaml")
    bare = "".join(line + "\n" for line in text.splitlines() if not line.lstrip().startswith("#"))
    without_optional = bare.split("artworks:")[0]
    for other in (bare, without_optional, bare.replace("epsilon: 8.0", "epsilon: 8")):
        assert other != text
        assert parse_policy(other, source="other.yaml").fingerprint() == policy.fingerprint()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("federation.rounds", 41),
        ("privacy.epsilon", 7.9),
        ("privacy.neighbouring", "replace_one"),
        ("training.momentum", 0.8),
        ("artworks.largest_collection", 999),
        ("audit.threat_models", ["curious_aggregator"]),
    ],
)
def test_every_value_counts_for_the_fingerprint(key: str, value: object) -> None:
    usual = parse_policy(policy_template(), source="a").fingerprint()
    assert parse_policy(policy_template({key: value}), source="b").fingerprint() != usual


def test_a_policy_cannot_be_changed() -> None:
    policy = parse_policy(policy_template(), source="policy.yaml")
    with pytest.raises(ValidationError):
        policy.privacy.epsilon = 99.0  # type: ignore[misc]
    assert hash(policy) == hash(parse_policy(policy_template(), source="policy.yaml"))


def test_the_rules_hold_for_models_that_are_built_in_code() -> None:
    with pytest.raises(ValidationError):
        Cohort(minimum=3, expected=2, colluding=0)
    with pytest.raises(ValidationError):
        Cohort(minimum=3, expected=3, colluding=3)
    with pytest.raises(ValidationError):
        BudgetSplit(centre=0.5, whiten=0.0, train=0.5, represent=0.1)
    assert BudgetSplit(centre=0.1, whiten=0.0, train=0.3, represent=0.6 + 9e-7).train == 0.3
    with pytest.raises(ValidationError):
        BudgetSplit(centre=0.1, whiten=0.0, train=0.3, represent=0.6 + 2e-6)


def test_an_error_of_the_models_does_not_show_the_input() -> None:
    with pytest.raises(ValidationError) as caught:
        Cohort.model_validate({"minimum": "a-very-private-note", "expected": 2, "colluding": 0})
    assert "a-very-private-note" not in str(caught.value)


def test_a_policy_built_in_code_can_be_checked_for_what_is_not_built_yet() -> None:
    policy = parse_policy(policy_template(), source="policy.yaml")
    check_supported(policy)
    privacy = policy.privacy.model_copy(update={"noise": "distributed", "unit": "artist"})
    with pytest.raises(InvalidPolicyError) as caught:
        check_supported(policy.model_copy(update={"privacy": privacy}))
    assert [problem.key for problem in caught.value.problems] == ["privacy.noise", "privacy.unit"]


def test_privacy_and_aggregation_have_no_defaults() -> None:
    promises = [info for info in policy_keys().values() if info.path[0] not in {"artworks", "training"}]
    assert len(promises) > 20
    assert all(info.required for info in promises)
    assert all(info.description and info.allowed for info in policy_keys().values())
