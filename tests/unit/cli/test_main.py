from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fedstyle_secure import __version__
from fedstyle_secure.cli import main as main_module
from fedstyle_secure.cli.main import COMMANDS, LazyCommand, main
from fedstyle_secure.errors import (
    BudgetError,
    ErrorCode,
    ExitCode,
    FedStyleSecureError,
    PolicyError,
    ProtocolError,
    SetupError,
    UsageError,
)

PROGRAM = (sys.executable, "-P", "-c", "from fedstyle_secure.cli.main import main; main()")


def run_program(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=cwd
    )


@pytest.fixture(name="command_that_raises")
def _command_that_raises(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command `boom` that raises what the test puts into the list."""
    box: list[BaseException] = []

    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def boom(as_json: bool) -> None:
        raise box[0]

    monkeypatch.setattr(sys.modules[__name__], "boom", boom, raising=False)
    monkeypatch.setattr(
        main_module, "COMMANDS", COMMANDS | {"boom": LazyCommand("boom_module:boom", "Boom.")}
    )
    monkeypatch.setitem(sys.modules, "boom_module", sys.modules[__name__])
    return box


ERRORS = [
    (UsageError(ErrorCode.USAGE, "that is wrong", fix="do this"), 2),
    (PolicyError(ErrorCode.POLICY_INVALID, "that is wrong", fix="do this"), 2),
    (BudgetError(ErrorCode.BUDGET_EXCEEDED, "that is wrong", fix="do this"), 4),
    (SetupError(ErrorCode.EXTRA_MISSING, "that is wrong", fix="do this"), 5),
    (ProtocolError(ErrorCode.COHORT_INCOMPLETE, "that is wrong", fix="do this"), 6),
]


@pytest.mark.parametrize(("error", "exit_code"), ERRORS)
def test_an_error_becomes_a_message_and_its_exit_code(
    error: FedStyleSecureError, exit_code: int, command_that_raises: list[BaseException]
) -> None:
    command_that_raises.append(error)
    result = CliRunner().invoke(main, ["boom"])
    assert result.exit_code == exit_code == error.exit_code
    assert result.stdout == ""
    assert result.stderr == f"error: that is wrong [{error.code}]\n  do this\n"


def test_with_json_the_error_is_on_stdout_too(command_that_raises: list[BaseException]) -> None:
    command_that_raises.append(SetupError(ErrorCode.EXTRA_MISSING, "a [bold]name[/bold]", fix="do this"))
    result = CliRunner().invoke(main, ["boom", "--json"])
    assert result.exit_code == 5
    expected = {"code": "extra-missing", "message": "a [bold]name[/bold]", "fix": "do this"}
    assert json.loads(result.stdout) == {"error": expected}
    # Brackets in names are not markup.
    assert "a [bold]name[/bold] [extra-missing]" in result.stderr


def test_what_nobody_expected_is_not_swallowed(command_that_raises: list[BaseException]) -> None:
    command_that_raises.append(ZeroDivisionError("a surprise"))
    result = CliRunner().invoke(main, ["boom"])
    assert result.exit_code == ExitCode.INTERNAL == 70
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError: a surprise" in result.stderr


def test_ctrl_c_in_a_command(command_that_raises: list[BaseException]) -> None:
    command_that_raises.append(KeyboardInterrupt())
    result = CliRunner().invoke(main, ["boom"])
    assert result.exit_code == ExitCode.INTERRUPTED == 130
    assert "Stopped before the end" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_real_interrupt_ends_a_real_process() -> None:
    script = (
        "import sys, time, types, click\n"
        "from fedstyle_secure.cli import main as m\n"
        "module = types.ModuleType('slow_module')\n"
        "@click.command()\n"
        "def slow():\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(60)\n"
        "module.slow = slow\n"
        "sys.modules['slow_module'] = module\n"
        "m.COMMANDS['slow'] = m.LazyCommand('slow_module:slow', 'Slow.')\n"
        "m.main(['slow'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Stopped before the end" in talk
    assert "Traceback" not in talk


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["init", "--no-such-option"], ["init", "a", "b"], ["search"]]
)
def test_a_wrong_call_is_a_usage_error(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "[usage]" in result.stderr
    assert "--help" in result.stderr


def test_no_command_at_all_shows_what_there_is() -> None:
    result = CliRunner().invoke(main, [])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: fedstyle-secure")
    assert "doctor" in result.stderr


def test_a_wrong_call_with_json_says_so_in_json() -> None:
    done = run_program("init", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "usage"
    # After `--`, it is not an option.
    assert run_program("init", "--", "--json", "b").stdout == ""


def test_version_and_help() -> None:
    version = run_program("--version")
    assert (version.returncode, version.stdout) == (0, f"fedstyle-secure {__version__}\n")
    for option in ("--help", "-h"):
        done = run_program(option)
        assert done.returncode == 0
        for name, command in COMMANDS.items():
            assert name in done.stdout
            assert command.summary in done.stdout


def test_help_answers_without_loading_what_commands_need() -> None:
    script = (
        "import sys\n"
        "from fedstyle_secure.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'opacus', 'tenseal', 'numpy', 'pydantic', 'rich', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_takes_less_than_a_third_of_a_second() -> None:
    # Processor time, and the best of three, since other work may go on beside the tests.
    times_s = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_program("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times_s.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(times_s) < 0.3


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_its_help_begins_as_listed(name: str) -> None:
    done = run_program(name, "--help")
    assert done.returncode == 0, done.stderr
    assert COMMANDS[name].summary in " ".join(done.stdout.split())


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="there are no pipes that close on this system")
@pytest.mark.parametrize("arguments", [["schema"], ["--help"]])
def test_a_reader_that_leaves_is_no_leak(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*PROGRAM, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    finally:
        os.close(writing)
    assert done.returncode == ExitCode.OUTPUT_CLOSED == 141
    assert done.stderr == ""
