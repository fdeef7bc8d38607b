from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from fedstyle_secure.cli import doctor as doctor_module
from fedstyle_secure.cli import health, probes
from fedstyle_secure.cli.health import Check, Status
from fedstyle_secure.cli.main import main
from fedstyle_secure.cli.probes import PROBES
from fedstyle_secure.errors import ErrorCode, SetupError


def pretend(monkeypatch: pytest.MonkeyPatch, *statuses: Status) -> None:
    def checks() -> Iterator[Check]:
        for number, status in enumerate(statuses):
            yield Check(f"check {number}", status, "as found", "" if status is Status.OK else "mend it")

    monkeypatch.setattr(doctor_module, "checks", checks)


@pytest.mark.parametrize(
    ("statuses", "exit_code", "verdict"),
    [
        ((Status.OK, Status.OK), 0, "All is well."),
        ((Status.OK, Status.WARNING), 0, "look at the warnings"),
        ((Status.WARNING, Status.PROBLEM, Status.OK), 5, "cannot work here"),
    ],
)
def test_the_worst_check_decides(
    statuses: tuple[Status, ...], exit_code: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, *statuses)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == exit_code
    assert verdict in result.stdout
    assert result.stdout.count("-> mend it") == sum(status is not Status.OK for status in statuses)
    as_json = CliRunner().invoke(main, ["doctor", "--json"])
    assert as_json.exit_code == exit_code
    content = json.loads(as_json.stdout)
    assert content["status"] == max(statuses, key=list(Status).index)
    assert [set(check) for check in content["checks"]] == [{"name", "status", "detail", "fix"}] * len(
        statuses
    )


@pytest.mark.slow
def test_this_machine_is_well() -> None:
    result = CliRunner().invoke(main, ["doctor", "--json"])
    problems = [check for check in json.loads(result.stdout)["checks"] if check["status"] == "problem"]
    assert problems == []
    assert result.exit_code == 0


@pytest.mark.slow
def test_every_problem_and_warning_of_this_machine_has_a_fix() -> None:
    for check in health.checks():
        assert check.detail
        assert bool(check.fix) is (check.status is not Status.OK)


@pytest.mark.parametrize("probe", ["tenseal", "secure sum", "opacus"])
def test_the_probes_exercise_the_real_libraries(probe: str) -> None:
    command = [sys.executable, "-P", "-m", "fedstyle_secure.cli.probes", probe]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1


def test_the_tenseal_probe_notices_a_wrong_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    import tenseal

    class Wrong:
        def __init__(self, context: object, values: list[int]) -> None:
            self.values = values

        def __add__(self, other: object) -> Wrong:
            return self

        def decrypt(self) -> list[int]:
            return self.values

    monkeypatch.setattr(tenseal, "bfv_vector", Wrong)
    with pytest.raises(ArithmeticError):
        PROBES["tenseal"]()


def test_the_opacus_probe_notices_a_missing_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    from opacus.optimizers import DPOptimizer

    original = DPOptimizer.__init__

    def without_clip(self: DPOptimizer, *arguments: object, **options: object) -> None:
        original(self, *arguments, **(options | {"max_grad_norm": 1e6}))

    monkeypatch.setattr(DPOptimizer, "__init__", without_clip)
    with pytest.raises(ArithmeticError, match="is off by"):
        PROBES["opacus"]()


def test_a_library_that_kills_its_process_is_a_problem_and_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nkill -ILL $$\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    check = health._check_probe("tenseal")
    assert check.status is Status.PROBLEM
    assert "instructions that this processor lacks" in check.detail


def test_a_probe_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    check = health._check_probe("no-such-probe")
    assert check.status is Status.PROBLEM
    assert "no-such-probe" in check.detail


def test_a_probe_that_meets_a_named_error_passes_its_way_out_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho 'the data is damaged' >&2\necho 'fetch it again' >&2\nexit 5\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    check = health._check_probe("colour-texture")
    assert (check.status, check.detail, check.fix) == (
        Status.PROBLEM,
        "the data is damaged",
        "fetch it again",
    )


def test_a_named_error_of_a_probe_is_written_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged() -> str:
        raise SetupError(ErrorCode.PUBLIC_DATA_CORRUPT, "the data is damaged", fix="fetch it again")

    monkeypatch.setattr(probes, "PROBES", {"damaged": damaged})
    monkeypatch.setattr(sys, "argv", ["probes", "damaged"])
    with pytest.raises(SystemExit) as stopped:
        probes.main()
    assert stopped.value.code == 5
    assert capsys.readouterr().err == "the data is damaged\nfetch it again\n"


@pytest.mark.parametrize("package", ["attacks", "threat_models"])
def test_our_packages_are_recognised(package: str) -> None:
    assert health._check_package_is_ours(package).status is Status.OK


def test_another_package_of_the_same_name_is_noticed_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "__init__.py").write_text(
        "__project__ = 'fedstyle-secure'\nraise SystemExit('ran')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name == "attacks" or name.startswith("attacks.")]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    check = health._check_package_is_ours("attacks")
    assert check.status is Status.PROBLEM
    assert str(tmp_path) in check.detail


@pytest.mark.parametrize("content", ["__all__ = []\n", "__project__ = 'other'\n", "not python (\n", "\0"])
def test_a_package_that_overwrote_ours_is_noticed(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "__init__.py").write_text(content)
    monkeypatch.setattr(health, "_home", tmp_path.resolve)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "attacks", raising=False)
    importlib.invalidate_caches()
    check = health._check_package_is_ours("attacks")
    assert check.status is Status.PROBLEM
    assert "overwrote" in check.detail


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    good = health._check_folder("here", tmp_path, otherwise=Status.PROBLEM)
    assert good.status is Status.OK
    assert os.listdir(tmp_path) == []
    bad = health._check_folder("there", tmp_path / "missing", otherwise=Status.WARNING)
    assert bad.status is Status.WARNING


@pytest.mark.parametrize(
    ("free_mib", "status"), [(5000, Status.OK), (500, Status.WARNING), (50, Status.PROBLEM)]
)
def test_space_on_the_disk(
    free_mib: int, status: Status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = health.shutil.disk_usage(tmp_path)._replace(free=free_mib * 2**20)
    monkeypatch.setattr(health.shutil, "disk_usage", lambda folder: usage)
    assert health._check_space(tmp_path).status is status


def test_a_missing_library_is_named() -> None:
    found = list(health._check_libraries(["numpy", "surely-not-installed"]))
    assert [(check.name, check.status) for check in found] == [
        ("library surely-not-installed", Status.PROBLEM),
        ("libraries", Status.OK),
    ]


def test_the_required_libraries_are_those_of_the_installation() -> None:
    required = health._required()
    assert {"torch", "opacus", "tenseal", "pyyaml"} <= set(required)
    assert "pytest" not in required
