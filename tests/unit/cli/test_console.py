from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fedstyle_secure.cli.console import Talk, json_option, print_json, print_result, quiet_option, talk


@click.command()
@json_option
@quiet_option
def chatter(as_json: bool) -> None:
    voice = talk()
    voice.say("by the way")
    voice.warn("take care of [this]")
    with voice.progress("counting", total=3) as advance:
        for _ in range(3):
            advance(1)
    if as_json:
        print_json({"name": "Zoë"})
    else:
        print_result("the result")


def test_results_are_on_stdout_and_talk_is_on_stderr() -> None:
    result = CliRunner().invoke(chatter)
    assert result.stdout == "the result\n"
    # No progress bar, since there is no terminal.
    assert result.stderr == "by the way\nwarning: take care of [this]\n"


def test_quiet_leaves_results_and_warnings() -> None:
    for option in ("--quiet", "-q"):
        result = CliRunner().invoke(chatter, [option])
        assert result.stdout == "the result\n"
        assert result.stderr == "warning: take care of [this]\n"


def test_json_survives_any_terminal() -> None:
    result = CliRunner().invoke(chatter, ["--json"])
    assert json.loads(result.stdout) == {"name": "Zoë"}
    assert result.stdout.isascii()
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json(float("nan"))


def test_long_lines_are_not_broken_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    Talk(quiet=False).say("word " * 100)
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a thing of Unix")
@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_on_a_terminal_obey_no_color(environment: dict[str, str], coloured: bool) -> None:
    import pty

    base = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR"}}
    ours, theirs = pty.openpty()
    script = "from fedstyle_secure.cli.console import Talk; Talk(quiet=False).warn('colour?')"
    options: dict[str, Any] = {"env": base | {"TERM": "xterm-256color"} | environment, "timeout": 60}
    subprocess.run([sys.executable, "-P", "-c", script], stderr=theirs, check=True, **options)
    os.close(theirs)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert "colour?" in shown
    assert ("\x1b[33m" in shown) is coloured
