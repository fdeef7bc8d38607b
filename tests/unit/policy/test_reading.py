from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fedstyle_secure.errors import ErrorCode, ExitCode
from fedstyle_secure.policy import (
    ArtworkLimits,
    InvalidPolicyError,
    PolicyProblem,
    Training,
    load_policy,
    parse_policy,
)

GOOD = """\
version: 1
federation: {rounds: 40, cohort: {minimum: 3, expected: 10, colluding: 1}}
privacy:
  unit: artwork
  neighbouring: add_or_remove_one
  epsilon: 8.0
  delta: 1e-5
  noise: local
  clip_norm_l2: 1.0
  split: {centre: 0.1, whiten: 0.0, train: 0.3, represent: 0.6}
  on_overspend: refuse
secure_aggregation: {backend: tenseal-bfv, value_bits: 16, masks: pairwise, reveal_to: artists}
style: {encoder: efficientnet-lite0, embedding_size: 64}
audit: {threat_models: [curious_aggregator, colluding_artists], fail_on: high}
"""
DESIGN = Path(__file__).resolve().parents[4] / "shared" / "DESIGN.md"


def problems_of(text: str) -> tuple[PolicyProblem, ...]:
    with pytest.raises(InvalidPolicyError) as caught:
        parse_policy(text, source="policy.yaml")
    return caught.value.problems


def edited(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_a_good_policy_is_read() -> None:
    policy = parse_policy(GOOD, source="policy.yaml")
    assert policy.version == 1
    assert policy.federation.rounds == 40
    assert (policy.federation.cohort.minimum, policy.federation.cohort.expected) == (3, 10)
    assert policy.privacy.delta == 1e-5
    assert isinstance(policy.privacy.delta, float)
    assert policy.privacy.split.represent == 0.6
    assert policy.audit.threat_models == ("curious_aggregator", "colluding_artists")
    # The optional blocks have their stated defaults.
    assert policy.artworks == ArtworkLimits()
    assert policy.training == Training()


def test_the_example_of_the_design_is_read_with_local_noise() -> None:
    if not DESIGN.is_file():
        pytest.skip("the design document lies beside the repository and is not here")
    example = DESIGN.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    assert "noise: distributed" in example
    policy = parse_policy(example.replace("noise: distributed", "noise: local"), source="DESIGN.md")
    assert policy.federation.cohort.colluding == 2
    (problem,) = problems_of(example)
    assert (problem.key, problem.code) == ("privacy.noise", ErrorCode.POLICY_NOT_YET_SUPPORTED)


def test_whole_numbers_serve_as_numbers() -> None:
    policy = parse_policy(edited("epsilon: 8.0", "epsilon: 8"), source="policy.yaml")
    assert policy.privacy.epsilon == 8.0
    assert isinstance(policy.privacy.epsilon, float)


# what is written, in place of what; the line; the key; a part of what is said about it
MISTAKES = [
    ("version: 1", "version: 2", 1, "version", "is 2 (allowed: 1). Write `version: 1`"),
    ("version: 1", "version: true", 1, "version", "is true"),
    ("version: 1", "version: 1.0", 1, "version", "is 1.0"),
    ("rounds: 40", "rounds: 0", 2, "federation.rounds", "is 0 (allowed: a whole number from 1 to 1000)"),
    ("rounds: 40", "rounds: 1001", 2, "federation.rounds", "is 1001"),
    ("rounds: 40", "rounds: 40.0", 2, "federation.rounds", "is 40.0 (allowed: a whole number"),
    ("rounds: 40", "rounds: '40'", 2, "federation.rounds", "is '40', which is text"),
    ("rounds: 40", "rounds: yes", 2, "federation.rounds", "is 'yes', which is text"),
    ("rounds: 40", "rounds: true", 2, "federation.rounds", "is true"),
    ("rounds: 40", "rounds:", 2, "federation.rounds", "has no value"),
    ("rounds: 40", "rounds: [4]", 2, "federation.rounds", "is a list"),
    ("rounds: 40", f"rounds: {'9' * 5000}", 2, "federation.rounds", "is '999"),
    ("rounds: 40", "rounds: 999999999999999999999999", 2, "federation.rounds", "is 999999"),
    ("minimum: 3", "minimum: 1", 2, "federation.cohort.minimum", "a whole number from 2 to 1024"),
    ("expected: 10", "expected: 2", 2, "federation.cohort.expected", "3 (the minimum of the cohort) to 1024"),
    ("expected: 10", "expected: 1025", 2, "federation.cohort.expected", "from 2 to 1024"),
    ("colluding: 1", "colluding: 3", 2, "federation.cohort.colluding", "allowed: 0 to 2"),
    ("colluding: 1", "colluding: -1", 2, "federation.cohort.colluding", "from 0"),
    ("unit: artwork", "unit: works", 4, "privacy.unit", "allowed: artwork, artist"),
    ("add_or_remove_one", "both", 5, "privacy.neighbouring", "add_or_remove_one, replace_one"),
    ("epsilon: 8.0", "epsilon: 0", 6, "privacy.epsilon", "is 0 (allowed: a number above 0 to 100)"),
    ("epsilon: 8.0", "epsilon: 101", 6, "privacy.epsilon", "is 101"),
    ("epsilon: 8.0", "epsilon: .inf", 6, "privacy.epsilon", "is inf"),
    ("epsilon: 8.0", "epsilon: .nan", 6, "privacy.epsilon", "is nan"),
    ("epsilon: 8.0", "epsilon: 1e999", 6, "privacy.epsilon", "is inf"),
    ("epsilon: 8.0", "epsilon: 1:30", 6, "privacy.epsilon", "is '1:30', which is text"),
    ("epsilon: 8.0", "epsilon: true", 6, "privacy.epsilon", "is true"),
    ("epsilon: 8.0", "epsilom: 8.0", 6, "privacy.epsilom", "Did you mean `epsilon`?"),
    ("delta: 1e-5", "delta: 0.1", 7, "privacy.delta", "a number above 0 to 0.01"),
    ("delta: 1e-5", "delta: '1e-5'", 7, "privacy.delta", "which is text"),
    ("noise: local", "noise: none", 8, "privacy.noise", "allowed: local, distributed"),
    ("clip_norm_l2: 1.0", "clip_norm_l2: 0.0", 9, "privacy.clip_norm_l2", "above 0 to 1000"),
    ("clip_norm_l2: 1.0", "rounds: 3", 9, "privacy.rounds", "It belongs below `federation:`"),
    ("train: 0.3", "train: 0.4", 10, "privacy.split", "They add up to 1.1"),
    ("represent: 0.6", "represent: 0.0", 10, "privacy.split.represent", "above 0 to 1"),
    ("centre: 0.1", "centre: -0.1", 10, "privacy.split.centre", "from 0"),
    ("on_overspend: refuse", "on_overspend: ignore", 11, "privacy.on_overspend", "allowed: refuse"),
    ("backend: tenseal-bfv", "backend: ckks", 12, "secure_aggregation.backend", "allowed: tenseal-bfv"),
    ("value_bits: 16", "value_bits: 7", 12, "secure_aggregation.value_bits", "from 8 to 24"),
    ("masks: pairwise", "masks: off", 12, "secure_aggregation.masks", "allowed: pairwise"),
    ("reveal_to: artists", "reveal_to: me", 12, "secure_aggregation.reveal_to", "artists, everyone"),
    ("encoder: efficientnet-lite0", "encoder: vgg", 13, "style.encoder", "colour-texture"),
    ("embedding_size: 64", "embedding_size: 65", 13, "style.embedding_size", "from 8 to 64"),
    ("fail_on: high", "fail_on: no", 14, "audit.fail_on", "is 'no' (allowed: low, medium, high)"),
    ("[curious_aggregator, colluding_artists]", "[]", 14, "audit.threat_models", "is a list"),
    ("[curious_aggregator, colluding_artists]", "all", 14, "audit.threat_models", "is 'all'"),
    (
        "[curious_aggregator, colluding_artists]",
        "[a, a]",
        14,
        "audit.threat_models",
        "each threat model once",
    ),
    ("curious_aggregator,", "Not a name,", 14, "audit.threat_models[0]", "a list of names"),
    ("style: {encoder: efficientnet-lite0, embedding_size: 64}", "style: 3", 13, "style", "not a block"),
    ("audit: {", "training: {momentum: 1.0}\naudit: {", 14, "training.momentum", "from 0 to below 1"),
    ("audit: {", "training: {rate: 1.0}\naudit: {", 14, "training.rate", "The keys here are: learning_rate"),
    (
        "audit: {",
        "artworks: {largest_collection: 3}\naudit: {",
        14,
        "artworks.largest_collection",
        "4 (minimum_",
    ),
    ("audit: {", "artworks:\naudit: {", 14, "artworks", "is empty, not a block of keys"),
    ("audit: {", "<<: {unit: artist}\naudit: {", 14, "<<", "is not a key of a policy"),
    ("audit: {", "1e-5: 3\naudit: {", 14, "1e-5", "is not a key of a policy"),
]


@pytest.mark.parametrize(("old", "new", "line", "key", "said"), MISTAKES)
def test_each_mistake_is_named_with_line_key_and_way_out(
    old: str, new: str, line: int, key: str, said: str
) -> None:
    found = [problem for problem in problems_of(edited(old, new)) if problem.key == key]
    assert [problem.line for problem in found] == [line]
    assert found[0].code is ErrorCode.POLICY_INVALID
    assert said in str(found[0])
    assert found[0].fix.endswith((".", "?"))


LINES = {
    "rounds: 40, ": "federation.rounds",
    "minimum: 3, ": "federation.cohort.minimum",
    ", colluding: 1": "federation.cohort.colluding",
    "  unit: artwork\n": "privacy.unit",
    "  epsilon: 8.0\n": "privacy.epsilon",
    "  delta: 1e-5\n": "privacy.delta",
    "  split: {centre: 0.1, whiten: 0.0, train: 0.3, represent: 0.6}\n": "privacy.split",
    "masks: pairwise, ": "secure_aggregation.masks",
    ", fail_on: high": "audit.fail_on",
    "style: {encoder: efficientnet-lite0, embedding_size: 64}\n": "style",
    "version: 1\n": "version",
}


@pytest.mark.parametrize(("removed", "key"), LINES.items())
def test_a_missing_key_is_named_with_the_line_to_add(removed: str, key: str) -> None:
    (problem,) = problems_of(edited(removed, ""))
    assert (problem.key, problem.wrong) == (key, "is missing")
    name = key.rpartition(".")[2]
    assert re.search(rf"Add (the line|a block) `{name}:", problem.fix)


def test_the_line_to_add_can_be_added_as_it_stands() -> None:
    (problem,) = problems_of(edited("  epsilon: 8.0\n", ""))
    assert problem.line == 3  # the block that it is missing from
    match = re.fullmatch(r"Add the line `(epsilon: .+)` below `privacy:`\.", problem.fix)
    assert match is not None
    parse_policy(edited("epsilon: 8.0", match[1]), source="policy.yaml")


def test_all_mistakes_come_at_once_in_the_order_of_the_file() -> None:
    text = (
        GOOD.replace("rounds: 40", "rounds: 0")
        .replace("epsilon: 8.0", "epsilon: 3\n  epsilon: 30")
        .replace("noise: local", "noise: distributed")
        .replace("backend: tenseal-bfv", "backends: tenseal-bfv")
        .replace("fail_on: high", "fail_on: never")
    )
    problems = problems_of(text)
    assert [(problem.line, problem.key) for problem in problems] == [
        (2, "federation.rounds"),
        (7, "privacy.epsilon"),
        (9, "privacy.noise"),
        (13, "secure_aggregation.backend"),
        (13, "secure_aggregation.backends"),
        (15, "audit.fail_on"),
    ]
    with pytest.raises(InvalidPolicyError) as caught:
        parse_policy(text, source="policy.yaml")
    message = str(caught.value)
    assert caught.value.code is ErrorCode.POLICY_INVALID
    assert caught.value.exit_code is ExitCode.USAGE
    assert "6 problems in the policy policy.yaml" in message
    for problem in problems:
        assert f"policy.yaml, line {problem.line}: {problem.key} " in message


NOT_YET = [
    ("unit: artwork", "unit: artist", "privacy.unit", "unit: artwork"),
    ("noise: local", "noise: distributed", "privacy.noise", "noise: local"),
    ("centre: 0.1, whiten: 0.0", "centre: 0.0, whiten: 0.1", "privacy.split.whiten", "whiten: 0.0"),
    (
        "split: {centre: 0.1, whiten: 0.0, train: 0.3, represent: 0.6}",
        "split: auto",
        "privacy.split",
        "split: {centre: 0.1, whiten: 0.0, train: 0.1, represent: 0.8}",
    ),
    ("reveal_to: artists", "reveal_to: everyone", "secure_aggregation.reveal_to", "reveal_to: artists"),
]


@pytest.mark.parametrize(("old", "new", "key", "instead"), NOT_YET)
def test_what_is_not_built_yet_is_refused_by_name(old: str, new: str, key: str, instead: str) -> None:
    (problem,) = problems_of(edited(old, new))
    assert (problem.key, problem.code) == (key, ErrorCode.POLICY_NOT_YET_SUPPORTED)
    assert problem.line > 0
    assert instead in problem.fix
    with pytest.raises(InvalidPolicyError) as caught:
        parse_policy(edited(old, new), source="policy.yaml")
    assert caught.value.code is ErrorCode.POLICY_NOT_YET_SUPPORTED


def _folder(path: Path) -> None:
    path.mkdir()


UNREADABLE: list[tuple[str, Callable[[Path], object], str]] = [
    ("missing", lambda path: None, "there is no such file"),
    ("folder", _folder, "this is a folder"),
    ("empty", lambda path: path.write_bytes(b""), "the file is empty"),
    ("only-comments", lambda path: path.write_bytes(b"# nothing\n"), "the file is empty"),
    ("latin1", lambda path: path.write_bytes(b"version: 1\n# caf\xe9\n"), "line 2: the file is not UTF-8"),
    ("utf16", lambda path: path.write_text(GOOD, encoding="utf-16"), "the file is not UTF-8"),
    ("huge", lambda path: path.write_bytes(b"# " + b"x" * 70_000), "larger than 64 KiB"),
    ("huge-cut", lambda path: path.write_text("# " + "é" * 70_000, encoding="utf-8"), "larger than 64 KiB"),
    (
        "control",
        lambda path: path.write_bytes(GOOD.encode() + b"\n\n# \x07\n"),
        "line 17: the character U+0007",
    ),
    ("text", lambda path: path.write_bytes(b"just a sentence\n"), "the file holds 'just a sentence'"),
    ("list", lambda path: path.write_bytes(b"- 1\n- 2\n"), "the file holds a list"),
]


@pytest.mark.parametrize(("name", "make", "said"), UNREADABLE, ids=[name for name, _, _ in UNREADABLE])
def test_a_file_that_is_no_policy_is_refused(
    name: str, make: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.yaml"
    make(path)
    with pytest.raises(InvalidPolicyError, match=re.escape(said)) as caught:
        load_policy(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_byte_order_mark_and_windows_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_policy(path) == parse_policy(GOOD, source="policy.yaml")


def test_a_name_with_strange_bytes_is_reported_in_printable_characters(tmp_path: Path) -> None:
    path = tmp_path / "\udcff.yaml"
    with pytest.raises(InvalidPolicyError) as caught:
        load_policy(path)
    str(caught.value).encode("utf-8")
    with pytest.raises(InvalidPolicyError, match="not allowed"):
        load_policy(tmp_path / "zero\0byte")
