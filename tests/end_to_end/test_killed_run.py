"""A run that is killed without warning goes on where it stopped, and no release is ever drawn twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fedstyle_secure.artworks.atelier import paint_atelier, write_atelier

# Notes every release that is about to leave, by its hash, in a file that survives the process.
_NOTING_CLI = """
import hashlib, sys
from fedstyle_secure.cli.main import main
from fedstyle_secure.federation.artist import Artist

original = Artist.protect

def noted(self, exchange, release, state, *, slot):
    with open({log!r}, "a") as log:
        log.write(f"{{self.name}} {{exchange.label}} {{hashlib.sha256(release.tobytes()).hexdigest()}}\\n")
    return original(self, exchange, release, state, slot=slot)

Artist.protect = noted
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_planned(tmp_path, policy_text):
    write_atelier(paint_atelier(artists=3, works=6, seed=1), tmp_path / "artworks")
    (tmp_path / "policy.yaml").write_text(policy_text(federation__rounds=60))
    log, out = tmp_path / "left.txt", tmp_path / "run"
    script = tmp_path / "noting.py"
    script.write_text(_NOTING_CLI.format(log=str(log)))
    command = [sys.executable, str(script), "run", str(tmp_path / "policy.yaml")]
    command += ["--artworks", str(tmp_path / "artworks"), "--out", str(out), "--json", "--quiet"]

    kills = 0
    for attempt in range(40):
        resumable = (out / "manifest.json").exists()
        process = subprocess.Popen(
            command + ["--resume"] * resumable, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        lines_before = log.read_text().count("\n") if log.exists() else 0
        deadline = time.monotonic() + 120
        # Kill it some releases after it has begun, at a different place each time; let it end from the
        # seventh attempt on.
        while process.poll() is None and attempt < 7:
            assert time.monotonic() < deadline
            if log.exists() and log.read_text().count("\n") >= lines_before + 5 + 4 * attempt:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.001)
        stdout, stderr = process.communicate(timeout=120)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, stderr
    assert kills >= 5

    result = json.loads(stdout)
    assert [entry["round"] for entry in result["rounds"]] == list(range(1, 61))
    assert result["guarantee"]["epsilon"] <= 8.0
    left = log.read_text().splitlines()
    labels = {line.rsplit(" ", 1)[0] for line in left}
    assert len(labels) == 3 * (60 + 3)
    # What left twice, before and after a kill, was the same noise.
    assert len(set(left)) == len(labels)
    assert len(left) > len(labels), "no kill came between noise and sum: the test shows nothing"
    assert not (out / "private" / "outbox.safetensors").exists()
