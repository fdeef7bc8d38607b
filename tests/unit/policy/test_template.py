from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fedstyle_secure.errors import ErrorCode, SetupError, UsageError
from fedstyle_secure.policy import (
    InvalidPolicyError,
    load_policy,
    parse_policy,
    policy_template,
    write_template,
)
from fedstyle_secure.policy.keys import policy_keys, yaml_value
from fedstyle_secure.policy.yaml_reader import read_yaml


def test_the_template_validates_and_promises_what_is_built() -> None:
    policy = parse_policy(policy_template(), source="template")
    assert policy.privacy.noise == "local"
    assert policy.privacy.unit == "artwork"
    assert policy.style.encoder == "auto"
    assert policy.privacy.split.whiten == 0.0


def test_every_key_stands_in_the_template_below_a_comment() -> None:
    lines = policy_template().splitlines()
    for info in policy_keys().values():
        indent = "  " * (len(info.path) - 1)
        places = [n for n, line in enumerate(lines) if line.startswith(f"{indent}{info.name}:")]
        assert places, info.dotted
        assert all(lines[n - 1].startswith(f"{indent}# ") for n in places), info.dotted
    assert max(len(line) for line in lines) <= 100


def test_values_replace_the_usual_ones() -> None:
    text = policy_template({"federation.rounds": 5, "privacy.delta": 1e-6, "style.encoder": "colour-texture"})
    policy = parse_policy(text, source="template")
    assert (policy.federation.rounds, policy.privacy.delta) == (5, 1e-6)
    assert policy.style.encoder == "colour-texture"
    with pytest.raises(KeyError, match=r"privacy\.epsilom"):
        policy_template({"privacy.epsilom": 3.0})
    with pytest.raises(InvalidPolicyError):
        policy_template({"privacy.epsilon": -1.0})


@pytest.mark.parametrize("value", [0.1, 1e-5, 2.5e-7, 1.0, 1000.0, 0.0, 40, "local", ["a", "b"], 1e-3])
def test_values_are_read_back_as_they_were_written(value: object) -> None:
    content = read_yaml(f"key: {yaml_value(value)}", source="s").content
    assert isinstance(content, dict)
    assert content["key"] == value
    assert type(content["key"]) is type(value)


def test_a_file_is_written_once_and_replaced_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "fedstyle.yaml"
    write_template(path)
    policy = load_policy(path)
    path.write_text("mine\n")
    with pytest.raises(UsageError) as caught:
        write_template(path)
    assert caught.value.code is ErrorCode.FILE_EXISTS
    assert path.read_text() == "mine\n"
    write_template(path, overwrite=True)
    assert load_policy(path) == policy
    assert os.listdir(tmp_path) == ["fedstyle.yaml"]


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as missing:
        write_template(tmp_path / "no" / "such" / "folder.yaml")
    assert missing.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    with pytest.raises(UsageError, match="is a folder"):
        write_template(tmp_path, overwrite=True)
    assert os.listdir(tmp_path) == []


def test_the_file_can_be_read_by_those_who_shall_agree_to_it(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        write_template(tmp_path / "p.yaml")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "p.yaml").stat().st_mode) == 0o644
