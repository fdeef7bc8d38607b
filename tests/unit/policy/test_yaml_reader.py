from __future__ import annotations

import math
import time

import pytest

from fedstyle_secure.errors import ErrorCode
from fedstyle_secure.policy.problems import InvalidPolicyError
from fedstyle_secure.policy.yaml_reader import MAXIMUM_SIZE_BYTES, read_yaml

# The core schema of YAML 1.2, and what YAML 1.1 would have made of the same text.
SCALARS: list[tuple[str, object]] = [
    ("1e-5", 1e-5),  # 1.1: text
    ("1E5", 1e5),
    (".5", 0.5),
    ("5.", 5.0),
    ("-0.25", -0.25),
    ("+12", 12),
    ("017", 17),  # 1.1: fifteen
    ("0o17", 15),
    ("0xfF", 255),
    ("0b11", "0b11"),  # 1.1: three
    ("1_000", "1_000"),  # 1.1: a thousand
    ("1:30", "1:30"),  # 1.1: ninety
    ("no", "no"),  # 1.1: false
    ("on", "on"),
    ("Yes", "Yes"),
    ("true", True),
    ("FALSE", False),
    ("~", None),
    ("Null", None),
    ("", None),
    ("2024-01-01", "2024-01-01"),  # 1.1: a date
    ("=", "="),
    ("'1'", "1"),
    ('"true"', "true"),
    ("-.inf", -math.inf),
    ("١٢", "١٢"),  # digits, but not those of YAML
    ("9" * 65, "9" * 65),  # too long to be a number of a policy
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    content = read_yaml(f"key: {text}\n", source="s").content
    assert isinstance(content, dict)
    assert content["key"] == value
    assert type(content["key"]) is type(value)


def test_not_a_number_is_read_as_such() -> None:
    content = read_yaml("key: .nan", source="s").content
    assert isinstance(content, dict)
    value = content["key"]
    assert isinstance(value, float)
    assert math.isnan(value)


def test_every_key_and_item_has_its_line() -> None:
    document = read_yaml("a: 1\nb:\n  c: {d: 2,\n    e: 3}\n  f:\n  - 4\n  - 5\n", source="s")
    assert document.content == {"a": 1, "b": {"c": {"d": 2, "e": 3}, "f": [4, 5]}}
    assert document.lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", "d"): 3,
        ("b", "c", "e"): 4,
        ("b", "f"): 5,
        ("b", "f", 0): 6,
        ("b", "f", 1): 7,
    }
    assert document.problems == ()


def test_repeated_keys_are_all_named_and_reading_goes_on() -> None:
    document = read_yaml("a: 1\nb: {c: 1, c: 2}\na: 2\n'a': 3\n", source="s")
    assert [(problem.line, problem.key) for problem in document.problems] == [(2, "b.c"), (3, "a"), (4, "a")]
    assert document.content == {"a": 1, "b": {"c": 1}}


def test_keys_must_be_words() -> None:
    document = read_yaml("a: 1\n? [b]\n: 2\n", source="s")
    (problem,) = document.problems
    assert problem.line == 2
    assert "where a key should be" in problem.wrong


REFUSED = [
    ("a: 1\nb: *a\n", 2, "the alias *a"),
    ("a: &a 1\n", 1, "the anchor &a"),
    ("&top\na: 1\n", 1, "the anchor &top"),
    ("a: !!python/object/apply:os.system [ls]\n", 1, "the tag 'tag:yaml.org,2002:python/object/apply:os.sys"),
    ("a: !!str 1\n", 1, "the tag"),
    ("a: ! 1\n", 1, "the tag"),
    ("!!map {a: 1}\n", 1, "the tag"),
    ("a: 1\n---\nb: 1\n", 2, "a second document begins"),
    ("a: 1\n b: 2\n", 2, "not YAML"),
    ("a: [1\n", 2, "not YAML"),
    ("a:\n\t- 1\n", 2, "not YAML"),
    ("a: 'open\n", 2, "not YAML"),
    ('a: "\\UFFFFFFFF"\n', 0, "out of range"),
    ('a: "\\q"\n', 1, "not YAML"),
    ("a: @b\n", 1, "not YAML"),
    ("a: " + "[" * 60_000, 1, "nested too deep"),
    ("\n".join(" " * n + "a:" for n in range(100)), 8, "nested too deep"),
    ("# \x00", 1, "U+0000"),
    ("", 0, "empty"),
    ("---\n", 0, "empty"),
]


@pytest.mark.parametrize(("text", "line", "said"), REFUSED)
def test_what_a_policy_has_no_use_for_is_refused_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(InvalidPolicyError) as caught:
        read_yaml(text, source="s")
    (problem,) = caught.value.problems
    assert problem.code is ErrorCode.POLICY_UNREADABLE
    assert problem.line == line
    assert said in problem.wrong


def test_a_small_file_cannot_take_long_or_grow_large() -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    for text in (bomb, "[" * (MAXIMUM_SIZE_BYTES - 1), "{a: " * 16_000, "- " * 30_000, "? " * 30_000):
        began = time.process_time()
        with pytest.raises(InvalidPolicyError):
            read_yaml(text, source="s")
        assert time.process_time() - began < 2.0


def test_the_size_is_counted_in_bytes() -> None:
    read_yaml("a: " + "x" * (MAXIMUM_SIZE_BYTES - 3), source="s")
    with pytest.raises(InvalidPolicyError, match="larger than 64 KiB"):
        read_yaml("a: " + "é" * (MAXIMUM_SIZE_BYTES // 2), source="s")
