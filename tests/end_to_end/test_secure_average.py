"""Runs the how-to about averaging any model: every command that it shows, as a reader would type it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = Path(sys.executable).parent
PAGE = ROOT / "docs" / "how-to" / "secure-any-average.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_EXPECTED = re.compile(r"<!-- expect: (.*?) -->")


def script_of(page: str) -> str:
    """All commands of a page, with their continuation lines, in order."""
    lines = (line for block in _BLOCK.findall(page) for line in block.splitlines())
    return "\n".join(line[2:] for line in lines if line.startswith(("$ ", "> "))) + "\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def run_script(script: str, folder: Path, *, timeout_s: float) -> str:
    """Run a script with this Python's commands first, and whatever it leaves behind ended with it."""
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": f"{COMMANDS}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    return output


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples" / "secure_average", tmp_path / "examples" / "secure_average")
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_how_to_works_as_it_is_written(folder: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    script = script_of(page)
    assert " 5005 " in script
    output = run_script(script.replace(" 5005", f" {free_port()}"), folder, timeout_s=200)
    expected = _EXPECTED.findall(page)
    assert expected
    for text in expected:
        assert text in output
    for name in ("ana", "ben", "chris", "dora"):
        assert (folder / f"{name}.json").stat().st_mode & 0o077 == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_client_with_another_agreement_is_left_out(folder: Path) -> None:
    script = script_of(PAGE.read_text(encoding="utf-8"))
    preparation, _, rest = script.partition("python examples/secure_average/aggregator.py")
    assert rest
    example = "examples/secure_average"
    port = free_port()
    output = run_script(
        f"""{preparation}
cp -r {example} other
sed -i 's/^VALUE_BITS = 20/VALUE_BITS = 16/' other/agreement.py
python {example}/aggregator.py roster.json {port} 10 &
for name in ana ben chris; do
  python {example}/client.py $name.json roster.json {port} $name.safetensors $name-mean.safetensors &
done
python other/client.py dora.json roster.json {port} dora.safetensors dora-mean.safetensors || echo dora is out
wait
ls *-mean.safetensors
""",
        folder,
        timeout_s=100,
    )
    assert "dora has the wrong policy" in output
    assert "dora is out" in output
    assert "unmask: heard 3 of 4 clients" in output
    written = [line for line in output.splitlines() if line.endswith("-mean.safetensors")]
    assert written == ["ana-mean.safetensors", "ben-mean.safetensors", "chris-mean.safetensors"]


def test_what_fails_in_a_script_is_noticed(folder: Path) -> None:
    with pytest.raises(AssertionError):
        run_script(script_of("```console\n$ false | true\n```\n"), folder, timeout_s=10)
    with pytest.raises(subprocess.TimeoutExpired):
        run_script(script_of("```console\n$ sleep 60 &\n$ wait\n```\n"), folder, timeout_s=0.5)
