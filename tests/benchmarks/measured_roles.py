"""Roles of a benchmark, each in a process of its own, so that time and peak memory are one role's alone.

Flows in: commands, as a line of JSON each. Flows out: what they took, in the same way. Messages between roles
are files, so that handing one on costs neither role memory.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np

__all__ = ["Meter", "RoleProcess", "error_of_mean", "example_vector", "serve", "steps_per_unit", "together"]

_Result = TypeVar("_Result")
_MIB = 2.0**20


def steps_per_unit(value_bits: int) -> float:
    """Grid points in 1.0 of `example_vector`: it ends at about 0.125, and float32 has all its points."""
    return 2.0 ** (value_bits + 2)


def example_vector(client: int, *, length: int, value_bits: int) -> np.ndarray:
    """A client's float32 vector: normal, of deviation 0.02, with every value on the grid of `value_bits`.

    On the grid, rounding at random has nothing to decide, so the integers that a client must contribute are
    known without a look into its process, and the production path can be checked for exactness.
    """
    values = np.random.default_rng([20240, client]).standard_normal(length, dtype=np.float32)
    values *= np.float32(0.02 * steps_per_unit(value_bits))
    np.rint(values, out=values)
    largest = 2 ** (value_bits - 1) - 1
    np.clip(values, -largest, largest, out=values)
    values /= np.float32(steps_per_unit(value_bits))
    return values


def error_of_mean(mean: np.ndarray, contributors: Sequence[int], **vector: Any) -> float:
    """The largest difference between a mean that was computed and the true one."""
    total = np.zeros(mean.size)
    for client in contributors:
        total += example_vector(client, **vector)
    return float(np.abs(mean - total / len(contributors)).max())


@final
class Meter:
    """Measures pieces of work of one process: seconds, seconds of CPU, and peak memory.

    Memory is the peak while the work was done (VmHWM of `/proc/self/status`, set back before) minus what the
    process held when the meter was made. What one piece leaves behind counts in the next.
    """

    def __init__(self) -> None:
        gc.collect()
        self._held = _status_kib("VmRSS")

    def run(self, work: Callable[[], _Result]) -> tuple[_Result, dict[str, float]]:
        """Do a piece of work.

        Returns:
            Its result, and `seconds`, `cpu_seconds` and `memory_mib`.
        """
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        cpu, began = _cpu_seconds(), time.perf_counter()
        result = work()
        seconds, cpu_seconds = time.perf_counter() - began, _cpu_seconds() - cpu
        peak = _status_kib("VmHWM") + sum(_status_kib("VmHWM", process) for process in _children())
        memory = max(0, peak - self._held) * 1024 / _MIB
        return result, {"seconds": seconds, "cpu_seconds": cpu_seconds, "memory_mib": memory}


def together(costs: Sequence[dict[str, float]]) -> dict[str, float]:
    """What several pieces of work of one meter took: sums of times, the highest peak."""
    return {
        "seconds": sum(cost["seconds"] for cost in costs),
        "cpu_seconds": sum(cost["cpu_seconds"] for cost in costs),
        "memory_mib": max(cost["memory_mib"] for cost in costs),
    }


def serve(role: Any) -> None:
    """Answer commands until there are no more. Whatever the role's libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(role, command.pop("do"))(**command)
        print(json.dumps(answer), file=answers, flush=True)


@final
class RoleProcess:
    """A role in a process of its own.

    Args:
        script: the program; it is called with `role` and the settings as JSON, and calls `serve`.
        role: which of its roles.
        settings: what the role is made with.
    """

    def __init__(self, script: Path, role: str, **settings: Any) -> None:
        self._name = f"{script.stem} {role}"
        self._words = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed by __exit__)
        self._process = subprocess.Popen(
            [sys.executable, str(script), role, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
        )

    def __enter__(self) -> RoleProcess:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        if any(error):
            self._process.kill()
        self._process.wait()
        self._words.close()

    def do(self, command: str, **arguments: Any) -> Any:
        """Let the role do something, and wait until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer = ""
        try:
            print(json.dumps({"do": command, **arguments}), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not answer:
            self._words.seek(0)
            raise SystemExit(f"{self._words.read()}\nthe role {self._name} ended at {command}")
        return json.loads(answer)


def _status_kib(field: str, process: str = "self") -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:  # a child that has just ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def _children() -> list[str]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [child for task in tasks for child in task.read_text(encoding="ascii").split()]


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
