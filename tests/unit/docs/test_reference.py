"""The reference says everything that the code says, and nothing that it no longer says."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from fedstyle_secure.artworks.collection import NoticeCode
from fedstyle_secure.cli.main import COMMANDS
from fedstyle_secure.errors import ErrorCode, ExitCode
from fedstyle_secure.policy.keys import policy_keys

DOCS = Path(__file__).resolve().parents[3] / "docs"
REFERENCE = DOCS / "reference"


def entries(page: str, pattern: str) -> list[str]:
    return re.findall(pattern, (REFERENCE / page).read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.fixture(name="generator")
def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_error_code_has_an_entry_and_no_other() -> None:
    assert sorted(entries("errors.md", r"^### ([a-z-]+)$")) == sorted(ErrorCode)


def test_every_exit_code_has_a_row_and_no_other() -> None:
    rows = entries("errors.md", r"^\| (\d+ \| [A-Z_]+) \| .+ \|$")
    assert rows == [f"{code.value} | {code.name}" for code in ExitCode]


def test_every_key_of_a_policy_has_an_entry_and_no_other() -> None:
    assert entries("policy.md", r"^##+ ([a-z0-9_.]+)$") == list(policy_keys())


def test_every_notice_about_artworks_has_a_row_and_no_other() -> None:
    assert sorted(entries("notices.md", r"^\| `([a-z-]+)` \| .+ \|$")) == sorted(NoticeCode)


def test_every_command_has_an_entry_and_no_other() -> None:
    assert entries("command-line.md", r"^## ([a-z-]+)$") == list(COMMANDS)


def test_the_generated_pages_are_current(generator: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.run(check=True) == 0, capsys.readouterr().out


def test_a_stale_page_is_noticed_and_refreshed(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in generator.PAGES:
        shutil.copy(REFERENCE / name, tmp_path / name)
    monkeypatch.setattr(generator, "REFERENCE", tmp_path)
    page = tmp_path / "policy.md"
    current = page.read_text(encoding="utf-8")
    page.write_text(current.replace("### privacy.epsilon\n", "### privacy.epsilom\n"), encoding="utf-8")
    assert generator.run(check=True) == 1
    assert "policy.md is stale" in capsys.readouterr().out
    assert "privacy.epsilom" in page.read_text(encoding="utf-8")  # to check changes nothing
    assert generator.run(check=False) == 0
    assert page.read_text(encoding="utf-8") == current
    assert generator.run(check=True) == 0


def test_a_page_without_markers_is_not_overwritten(generator: ModuleType) -> None:
    with pytest.raises(ValueError, match="lacks its marker lines"):
        generator.refreshed("# A page\n", "words")
