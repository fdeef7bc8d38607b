"""What is built is what works: a wheel, installed into an environment of its own, runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": "", "PIP_NO_INPUT": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(name="built", scope="module")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution of this tree, and a wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-P", "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


def test_the_wheel_holds_all_packages_with_their_data(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top_level = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert top_level == {"fedstyle_secure", "threat_models", "attacks"}
    assert {f"{package}/py.typed" for package in top_level} <= set(names)
    here = {
        path.relative_to(ROOT).as_posix()
        for package in top_level
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_source_distribution_holds_what_the_tests_need(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    for wanted in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt", ".ci/run", "docs/conf.py"):
        assert wanted in names
    assert "tests/end_to_end/test_wheel.py" in names
    assert not [name for name in names if name.endswith((".pyc", ".whl")) or "_build" in name]


def test_the_installed_wheel_runs(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    environment = tmp_path / "venv"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # Libraries come from the environment that runs this test. A folder that a .pth file names is searched
    # last and its own .pth files are not read, so that this project can only come from the wheel.
    (site,) = (environment / "lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")

    program = environment / "bin" / "fedstyle-secure"
    report = json.loads(run(program, "doctor", "--json", cwd=tmp_path))
    assert [check for check in report["checks"] if check["status"] == "problem"] == []
    (installation,) = [check for check in report["checks"] if check["name"] == "installation"]
    assert str(site) in installation["detail"]
    run(program, "init", cwd=tmp_path)
    assert (tmp_path / "fedstyle.yaml").is_file()
    for command in ("run", "demo", "search"):
        assert "Usage:" in run(program, command, "--help", cwd=tmp_path)
