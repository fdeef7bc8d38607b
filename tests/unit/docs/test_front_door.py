"""What a newcomer reads first holds together: the two commands of the README, the pins, the links."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]


def command(marker: str) -> str:
    match = re.search(rf"<!-- {marker} -->\n```bash\n(.+)\n```\n", README)
    assert match is not None, f"the README lacks {marker}"
    return match[1]


@pytest.mark.parametrize(
    ("marker", "end"),
    [("the demo command", ".venv/bin/fedstyle-secure demo"), ("the test command", ".venv/bin/pytest")],
)
def test_the_two_commands_begin_with_nothing_and_use_the_pins(marker: str, end: str) -> None:
    steps = command(marker).split(" && ")
    assert steps[0] == "python3 -m venv .venv"
    assert steps[1].startswith(".venv/bin/pip install -c constraints.txt ")
    assert steps[2:] == [end]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    extraction = re.search(r"^command=\$\((sed .+) README\.md\)$", script, flags=re.MULTILINE)
    assert extraction is not None
    found = subprocess.run(
        ["bash", "-c", f"{extraction[1]} README.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == command("the test command") + "\n"
    assert 'bash -euo pipefail -c "$command"' in script


def test_the_ci_script_is_executable_and_parses() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_every_declared_dependency_is_pinned_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    declared = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    assert len(declared) > 20
    for requirement in map(Requirement, declared):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not pinned in constraints.txt"
        assert requirement.specifier.contains(pin), f"{requirement.name}: the pin {pin} is out of range"
        assert "+" not in pin, "a local version label exists on no registry"


@pytest.mark.parametrize("page", PAGES)
def test_links_between_the_files_of_the_repository_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)[^)]*\)", text):
        assert (ROOT / target).exists(), f"{page} links to {target}"
