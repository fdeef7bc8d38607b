from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from fedstyle_secure.cli.main import main
from fedstyle_secure.policy import load_policy, policy_json_schema


def test_init_writes_a_policy_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["init"])
    assert (result.exit_code, result.stdout) == (0, "fedstyle.yaml\n")
    assert "fedstyle-secure run fedstyle.yaml" in result.stderr
    assert load_policy(tmp_path / "fedstyle.yaml").privacy.noise == "local"


def test_init_does_not_overwrite_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    refused = CliRunner().invoke(main, ["init", str(path)])
    assert refused.exit_code == 2
    assert "[file-exists]" in refused.stderr
    assert "--force" in refused.stderr
    assert path.read_text() == "mine"
    forced = CliRunner().invoke(main, ["init", str(path), "--force", "--quiet"])
    assert (forced.exit_code, forced.stderr) == (0, "")
    load_policy(path)


def test_init_says_when_it_cannot_write(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["init", str(tmp_path / "nowhere" / "p.yaml")])
    assert result.exit_code == 5
    assert "[output-not-writable]" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_schema_prints_the_schema() -> None:
    result = CliRunner().invoke(main, ["schema"])
    assert result.exit_code == 0
    assert result.stderr == ""
    schema = json.loads(result.stdout)
    assert schema == policy_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
