"""Whatever a file holds, reading it gives a policy or a PolicyError."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedstyle_secure.errors import PolicyError
from fedstyle_secure.policy import load_policy, parse_policy, policy_template
from fedstyle_secure.policy.keys import policy_keys

# How long an example takes says more about the machine than about the code.
patient = settings(deadline=None)

TEMPLATE = policy_template()
LINES = tuple(line for line in TEMPLATE.splitlines() if not line.lstrip().startswith("#"))
NAMES = st.sampled_from([info.name for info in policy_keys().values()])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | NAMES
    | st.sampled_from(["local", "auto"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | SCALARS, inner, max_size=6),
    max_leaves=30,
)


def refused_readably(text: str) -> None:
    try:
        parse_policy(text, source="random")
    except PolicyError as error:
        message, fix = str(error), error.fix
    else:
        return
    assert message.encode("utf-8")
    assert fix


@patient
@given(st.text(max_size=200))
@example('"\\UFFFFFFFF"')
@example("%YAML 9999999999999999999999.1\n---\na: 1")
@example('"\\ud800": 1')
@example("? a")
def test_random_text(text: str) -> None:
    refused_readably(text)


@patient
@given(st.text(alphabet="a:-?[]{},&*!|>'\"%@`#~ \n\t0.e\\", max_size=120))
def test_random_punctuation(text: str) -> None:
    refused_readably(text)


@patient
@given(TREES)
def test_random_trees(tree: object) -> None:
    refused_readably(yaml.dump(tree, allow_unicode=True))


@patient
@given(st.lists(st.sampled_from(LINES) | st.text(max_size=20), max_size=60))
def test_lines_of_a_policy_shuffled(lines: list[str]) -> None:
    refused_readably("\n".join(lines))


@patient
@given(st.binary(max_size=200))
def test_random_bytes(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yaml"
        path.write_bytes(content)
        with suppress(PolicyError):
            load_policy(path)


@patient
@given(position=st.integers(min_value=0, max_value=len(TEMPLATE) - 1), character=st.characters())
def test_one_changed_character_is_a_policy_or_an_error(position: int, character: str) -> None:
    refused_readably(TEMPLATE[:position] + character + TEMPLATE[position + 1 :])


@patient
@given(
    epsilon=st.floats(min_value=0.01, max_value=100),
    rounds=st.integers(min_value=1, max_value=1000),
    minimum=st.integers(min_value=2, max_value=20),
)
def test_what_the_template_writes_is_what_is_read(epsilon: float, rounds: int, minimum: int) -> None:
    values = {
        "privacy.epsilon": epsilon,
        "federation.rounds": rounds,
        "federation.cohort.minimum": minimum,
        "federation.cohort.expected": 20,
    }
    policy = parse_policy(policy_template(values), source="template")
    assert policy.privacy.epsilon == epsilon
    assert policy.federation.rounds == rounds
    assert policy.federation.cohort.minimum == minimum
