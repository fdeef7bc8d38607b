"""The folder of a run: what it was started with, how far it is, and what may have left already.

Flows in: released state, records, and the releases of the exchange under way. Flows out: the same after a
crash, so that a run continues where it stopped and no release is drawn twice. Never written here: artworks,
features, keys, unnoised sums.

Layout::

    policy.yaml                   the policy of the run, as it was
    manifest.json                 versions and hashes
    state.safetensors             the released state after the last finished exchange, and the records of all
    style-index*                  the style index, at the end
    result.json                   the released part of what `run --json` prints, at the end
    report.html                   the page of the run, at the end
    private/                      what no guarantee covers, and what only a restart needs: not to be passed on
    private/artworks.sha256       fingerprint of the artworks
    private/outbox.safetensors    the releases of the exchange under way; gone when it is done
    private/result.json           all that `run --json` prints: notices about files, and what was measured
    private/report.html           the page with what was measured

Every file is written to a temporary name, flushed to disk and renamed, and is readable by its owner alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from fedstyle_secure.errors import ErrorCode, SetupError, UsageError
from fedstyle_secure.federation.global_state import GlobalState
from fedstyle_secure.federation.journal import Progress, Releases
from fedstyle_secure.federation.records import ExchangeRecord
from fedstyle_secure.federation.run_plan import Exchange, Stage

__all__ = [
    "Manifest",
    "RunFolder",
    "artworks_fingerprint",
    "read_manifest",
    "require_new_folder",
]

_SCHEMA_VERSION = 1
_MANIFEST, _POLICY, _STATE, _PRIVATE = "manifest.json", "policy.yaml", "state.safetensors", "private"
_OUTBOX, _ARTWORKS = f"{_PRIVATE}/outbox.safetensors", f"{_PRIVATE}/artworks.sha256"

_BEFORE_MANIFEST = {_POLICY, _STATE, _PRIVATE, *(f".{name}.part" for name in (_POLICY, _STATE, _MANIFEST))}


@dataclass(frozen=True)
class Manifest:
    """What a run was started with.

    Attributes:
        package_version: version of this package.
        policy_sha256: fingerprint of the policy, hexadecimal.
        artworks_sha256: fingerprint of the artworks that take part, hexadecimal. It is kept in
            `private/`: whoever has a candidate set of artworks could test it against the hash.
        encoder: name of the public encoder.
        projection_sha256: hash of the public projection.
        artists: names on the roster.
        evaluate: whether works were held out for evaluation.
    """

    package_version: str
    policy_sha256: str
    artworks_sha256: str
    encoder: str
    projection_sha256: str
    artists: tuple[str, ...]
    evaluate: bool


@final
class RunFolder:
    """One run on disk, and its journal. Use `create` or `reopen`, then hold `locked()` during the run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, *, policy_text: str, manifest: Manifest) -> RunFolder:
        """Make the folder of a new run.

        Args:
            path: folder that is absent or empty.
            policy_text: the policy's text, kept as it was written.
            manifest: what the run is started with.

        Raises:
            UsageError: the folder holds something already.
            SetupError: it cannot be written.
        """
        require_new_folder(path)
        folder = cls(path)
        folder.write_text(_POLICY, policy_text)
        folder.write_text(_ARTWORKS, manifest.artworks_sha256)
        # From here on a folder without a state is a damaged one, and not one that has released nothing.
        folder._write(_STATE, save_tensors({}, metadata={"records": "[]"}))
        # The manifest comes last: a folder without one is no run.
        public = {name: value for name, value in _as_json(manifest).items() if name != "artworks_sha256"}
        folder.write_json(_MANIFEST, {"schema_version": _SCHEMA_VERSION, **public})
        return folder

    @classmethod
    def reopen(cls, path: Path, *, manifest: Manifest) -> RunFolder:
        """Open the folder of a run that was begun before.

        Args:
            path: the folder.
            manifest: what the run would be started with now; it must be what it was started with then.

        Raises:
            UsageError: there is no run in the folder, or it is a run of another policy or of other artworks.
        """
        begun = read_manifest(path)
        if begun.policy_sha256 != manifest.policy_sha256:
            raise UsageError(
                ErrorCode.RUN_FOLDER_OTHER_POLICY,
                f"the run in {path} was begun under another policy",
                fix=f"Resume with the policy it was begun with ({path / _POLICY}), or choose another folder.",
            )
        differing = [name for name, value in _as_json(manifest).items() if _as_json(begun)[name] != value]
        if differing:
            raise UsageError(
                ErrorCode.RUN_FOLDER_OTHER_ARTWORKS,
                f"the run in {path} was begun with something else: {', '.join(differing)} differ",
                fix="Resume with the same artworks, encoder, version and options, or choose another folder.",
            )
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from continuing the same run.

        Raises:
            UsageError: another process holds the run.
        """
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    ErrorCode.RUN_FOLDER_EXISTS,
                    f"another process is working in {self.path}",
                    fix="Wait until it has ended.",
                ) from error
            for leftover in (*self.path.glob(".*.part"), *self.path.glob(f"{_PRIVATE}/.*.part")):
                leftover.unlink()
            yield
        finally:
            os.close(descriptor)

    def progress(self) -> Progress | None:
        """See `Journal.progress`."""
        arrays, metadata = self._read_tensors(_STATE)
        if arrays is None:
            raise _invalid(self.path, _STATE)
        try:
            records = tuple(ExchangeRecord.from_json(record) for record in json.loads(metadata["records"]))
            return Progress(GlobalState.from_arrays(arrays), records) if records else None
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise _invalid(self.path, _STATE) from error

    def commit(self, progress: Progress) -> None:
        """See `Journal.commit`. The releases of the exchange are deleted."""
        metadata = {"records": json.dumps([record.to_json() for record in progress.records])}
        self._write(_STATE, save_tensors(progress.state.arrays(), metadata=metadata))
        (self.path / _OUTBOX).unlink(missing_ok=True)

    def keep(self, exchange: Exchange, draw: Callable[[], Releases]) -> Releases:
        """See `Journal.keep`. The releases are on disk when this returns."""
        kept, metadata = self._read_tensors(_OUTBOX)
        if kept is not None and metadata.get("exchange") == exchange.label:
            try:
                return {name: kept[str(place)] for place, name in enumerate(json.loads(metadata["artists"]))}
            except (KeyError, TypeError, ValueError) as error:
                raise _invalid(self.path, _OUTBOX) from error
        if kept is not None and metadata.get("exchange") != self._last_committed():
            # Something has left that the state knows nothing of: drawing on would release it a second time.
            raise _invalid(self.path, _OUTBOX)
        drawn = draw()
        tensors = {str(place): np.ascontiguousarray(vector) for place, vector in enumerate(drawn.values())}
        metadata = {"exchange": exchange.label, "artists": json.dumps(list(drawn))}
        self._write(_OUTBOX, save_tensors(tensors, metadata=metadata))
        return drawn

    def _last_committed(self) -> str | None:
        progress = self.progress()
        if progress is None:
            return None
        last = progress.records[-1]
        return Exchange(Stage(last.stage), last.round).label

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file into the folder, whole or not at all."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file into the folder, whole or not at all."""
        self._write(name, text.encode())

    def _write(self, name: str, content: bytes) -> None:
        target = self.path / name
        temporary = target.with_name(f".{target.name}.part")
        try:
            target.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            _flush_folder(target.parent)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise _not_writable(self.path, error) from error

    def _read_tensors(self, name: str) -> tuple[dict[str, np.ndarray] | None, dict[str, str]]:
        try:
            content = (self.path / name).read_bytes()
        except FileNotFoundError:
            return None, {}
        except OSError as error:
            raise _invalid(self.path, name) from error
        try:
            header_size = int.from_bytes(content[:8], "little")
            metadata = json.loads(content[8 : 8 + header_size])["__metadata__"]
            return load_tensors(content), dict(metadata)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise _invalid(self.path, name) from error


def require_new_folder(path: Path) -> None:
    """Make an empty folder, or find it empty.

    Raises:
        UsageError: it holds something already.
        SetupError: it cannot be made or read.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        # A run that was killed before its manifest was written has released nothing.
        taken = any(entry.name not in _BEFORE_MANIFEST for entry in path.iterdir())
    except OSError as error:
        raise _not_writable(path, error) from error
    if taken:
        raise UsageError(
            ErrorCode.RUN_FOLDER_EXISTS,
            f"the folder {path} is not empty",
            fix="Name another folder with --out. A run that stopped half-way is continued with --resume.",
        )


def read_manifest(path: Path) -> Manifest:
    """Read what the run in a folder was started with.

    Raises:
        UsageError: there is no run in the folder, or its manifest cannot be read.
    """
    try:
        content = json.loads((path / _MANIFEST).read_text())
        content["artworks_sha256"] = (path / _ARTWORKS).read_text()
        if content.pop("schema_version") != _SCHEMA_VERSION:
            raise _invalid(path, _MANIFEST)
        return Manifest(**{**content, "artists": tuple(content["artists"])})
    except OSError as error:
        raise UsageError(
            ErrorCode.RUN_FOLDER_INVALID,
            f"there is no run in {path} that could be continued",
            fix="Name a folder that `fedstyle-secure run` has written, complete with its folder `private`.",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _invalid(path, _MANIFEST) from error


def artworks_fingerprint(works: Sequence[tuple[str, np.ndarray]]) -> str:
    """SHA-256 over the artists' names and the pixels of all their works, hexadecimal."""
    digest = hashlib.sha256()
    for artist, images in works:
        digest.update(json.dumps([artist, list(images.shape)]).encode())
        digest.update(np.ascontiguousarray(images).tobytes())
    return digest.hexdigest()


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_json(manifest: Manifest) -> dict[str, Any]:
    return {**vars(manifest), "artists": list(manifest.artists)}


def _not_writable(path: Path, error: OSError) -> SetupError:
    return SetupError(
        ErrorCode.OUTPUT_NOT_WRITABLE,
        f"cannot write to {path}: {error.strerror}",
        fix="Choose a folder that you may write to and that has room, with --out.",
    )


def _invalid(path: Path, name: str) -> UsageError:
    return UsageError(
        ErrorCode.RUN_FOLDER_INVALID,
        f"{path / name} is damaged or was written by another version",
        fix="Start a new run in another folder. What this run has released counts as spent all the same.",
    )
