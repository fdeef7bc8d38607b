from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from fedstyle_secure.policy import policy_json_schema, policy_template
from fedstyle_secure.policy.keys import policy_keys
from fedstyle_secure.policy.yaml_reader import Plain, read_yaml


def template() -> dict[str, Any]:
    content: Plain = read_yaml(policy_template(), source="template").content
    assert isinstance(content, dict)
    return content


@pytest.fixture(name="validator")
def _validator() -> jsonschema.Draft202012Validator:
    schema = policy_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_names_its_dialect_and_describes_every_key() -> None:
    schema = policy_json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for info in policy_keys().values():
        place = schema
        for key in info.path:
            if "$ref" in place:
                place = schema["$defs"][place["$ref"].removeprefix("#/$defs/")]
            place = place["properties"][key]
        target = schema["$defs"][place["$ref"].removeprefix("#/$defs/")] if "$ref" in place else place
        assert place.get("description") or target.get("description"), info.dotted


def test_the_template_fits(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(template())


def test_optional_blocks_may_be_left_out(validator: jsonschema.Draft202012Validator) -> None:
    content = template()
    del content["artworks"], content["training"]
    validator.validate(content)


@pytest.mark.parametrize("dotted", [name for name, info in policy_keys().items() if info.required])
def test_a_missing_key_does_not_fit(dotted: str, validator: jsonschema.Draft202012Validator) -> None:
    content = template()
    *parents, name = dotted.split(".")
    block = content
    for parent in parents:
        block = block[parent]
    del block[name]
    assert not validator.is_valid(content)


@pytest.mark.parametrize("dotted", [name for name, info in policy_keys().items() if info.is_block])
def test_an_unknown_key_does_not_fit(dotted: str, validator: jsonschema.Draft202012Validator) -> None:
    content = template()
    block = content
    for parent in dotted.split("."):
        block = block[parent]
    block["surprise"] = 1
    assert not validator.is_valid(content)


@pytest.mark.parametrize(
    ("dotted", "bad"),
    [
        ("version", 2),
        ("federation.rounds", 0),
        ("federation.rounds", "40"),
        ("federation.cohort.minimum", 1),
        ("privacy.epsilon", 0),
        ("privacy.epsilon", 101),
        ("privacy.delta", 0.5),
        ("privacy.noise", "none"),
        ("privacy.split.represent", 0),
        ("secure_aggregation.value_bits", 25),
        ("style.embedding_size", 4),
        ("audit.threat_models", []),
        ("audit.threat_models", ["Not A Name"]),
        ("training.momentum", 1.0),
    ],
)
def test_a_bad_value_does_not_fit(
    dotted: str, bad: object, validator: jsonschema.Draft202012Validator
) -> None:
    content = template()
    *parents, name = dotted.split(".")
    block = content
    for parent in parents:
        block = block[parent]
    block[name] = bad
    assert not validator.is_valid(content)
