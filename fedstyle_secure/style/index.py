"""The style index: what a finished run leaves behind, and searching in it.

Flows in: released prototypes, the released centre and the trained head. Flows out: artists ranked for an
image, and two files (JSON and safetensors). Never seen here: artworks, features of private artworks, keys,
noise; everything in an index was released under the run's guarantee.

On disk an index is ``style-index.json`` plus one safetensors file that the JSON names by its hash. Both are
written under another name first and renamed when complete; the JSON comes last, so a reader sees the old
index or the new one and never half of each. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fedstyle_secure.errors import ErrorCode, SetupError, UsageError
from fedstyle_secure.style.embedding import style_embeddings, unit_rows
from fedstyle_secure.style.public import shipped_sha256

__all__ = ["Match", "StyleIndex"]

_KIND = "fedstyle-secure/style-index"
_VERSION = 1
_JSON_NAME = "style-index.json"
_TENSORS = ("prototypes", "centre", "head_weight")
_KEYS = {"kind", "version", "artists", "encoder", "projection_sha256", "guarantee", "tensors_sha256"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Match:
    """One artist's place in the answer to a search.

    Args:
        artist: name of the artist.
        score: cosine between the image's embedding and the artist's prototype, -1 to 1. Compare scores within
            one search; what counts as close differs from artist to artist.
        rank: 1 for the closest.
    """

    artist: str
    score: float
    rank: int


@dataclass(frozen=True, eq=False)
class StyleIndex:
    """Artists and their released prototypes in the learned style space.

    Args:
        artists: names, each once.
        prototypes: one row per artist, in the space after the head; the length of a row does not matter.
        centre: the released mean of all artworks' public embeddings.
        head_weight: the trained head's matrix.
        encoder: name of the encoder that the public embeddings came from.
        projection_sha256: hash of the public projection they came through.
        guarantee: what the run promised, as JSON.

    Raises:
        ValueError: the parts do not fit together or are not finite.
    """

    artists: tuple[str, ...]
    prototypes: Float64[np.ndarray, "artists embedding"]
    centre: Float64[np.ndarray, " embedding"]
    head_weight: Float64[np.ndarray, "embedding embedding"]
    encoder: str
    projection_sha256: str
    guarantee: Mapping[str, Any]

    def __post_init__(self) -> None:
        size = self.centre.shape[0] if self.centre.ndim == 1 else 0
        if not self.artists or len(set(self.artists)) != len(self.artists) or "" in self.artists:
            raise ValueError("an index needs artists, each with a name of its own")
        if (
            size < 1
            or self.prototypes.shape != (len(self.artists), size)
            or self.head_weight.shape != (size, size)
        ):
            raise ValueError("prototypes, centre and head do not have the same dimensions")
        for name in _TENSORS:
            if getattr(self, name).dtype != np.float64 or not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} must be finite numbers in double precision")
        if not _SHA256.fullmatch(self.projection_sha256):
            raise ValueError("projection_sha256 must be 64 hexadecimal digits")

    def embed(
        self, projected: Float[np.ndarray, "artworks embedding"]
    ) -> Float64[np.ndarray, "artworks embedding"]:
        """From public embeddings to the learned style space.

        Args:
            projected: what the public projection gave.

        Returns:
            Unit rows.
        """
        return style_embeddings(projected, centre=self.centre, head_weight=self.head_weight)

    def search(self, projected_image: Float[np.ndarray, " embedding"]) -> tuple[Match, ...]:
        """All artists, the closest style first.

        Args:
            projected_image: one image's public embedding.

        Returns:
            One match per artist; equal scores stay in the order of the index.
        """
        scores = self.scores(projected_image[None])[0]
        order = np.argsort(-scores, kind="stable")
        return tuple(
            Match(artist=self.artists[place], score=float(scores[place]), rank=rank)
            for rank, place in enumerate(order, start=1)
        )

    def scores(
        self, projected: Float[np.ndarray, "artworks embedding"]
    ) -> Float64[np.ndarray, "artworks artists"]:
        """Cosine of every image to every artist's prototype.

        Args:
            projected: what the public projection gave.

        Returns:
            -1 to 1, one row per image.
        """
        return np.asarray(self.embed(projected) @ unit_rows(self.prototypes).T)

    def save(self, folder: Path) -> None:
        """Write the index into a folder, replacing one that is there in a single step.

        Args:
            folder: exists already.

        Raises:
            SetupError: OUTPUT_NOT_WRITABLE.
        """
        tensors = save({name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS})
        digest = hashlib.sha256(tensors).hexdigest()
        described = {
            "kind": _KIND,
            "version": _VERSION,
            "artists": list(self.artists),
            "encoder": self.encoder,
            "projection_sha256": self.projection_sha256,
            "guarantee": dict(self.guarantee),
            "tensors_sha256": digest,
        }
        text = json.dumps(described, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        try:
            _write_whole(folder / _tensors_name(digest), tensors)
            _write_whole(folder / _JSON_NAME, text.encode())
            for path in folder.glob(_tensors_name("*")):
                if path.name != _tensors_name(digest):
                    path.unlink()
        except OSError as error:
            raise SetupError(
                ErrorCode.OUTPUT_NOT_WRITABLE,
                f"The style index could not be written to {folder}: {error.strerror}.",
                fix="Make the folder writable, free some space, or choose another one.",
            ) from error

    @classmethod
    def load(cls, folder: Path) -> StyleIndex:
        """Read an index back, believing nothing.

        Args:
            folder: a folder that `save` wrote to.

        Returns:
            The index.

        Raises:
            UsageError: RUN_FOLDER_INVALID, there is no index, it was changed, or it belongs to another
                version of the encoder or of the public projection.
        """
        try:
            content = (folder / _JSON_NAME).read_bytes()
            described = _parse(content)
            tensors = _read_tensors(folder, described["tensors_sha256"])
            index = cls(
                artists=tuple(described["artists"]),
                encoder=described["encoder"],
                projection_sha256=described["projection_sha256"],
                guarantee=described["guarantee"],
                **tensors,
            )
        except FileNotFoundError as error:
            raise _invalid(folder, "it is not complete, or there is none") from error
        except OSError as error:
            raise _invalid(folder, "it cannot be read") from error
        except (ValueError, RecursionError, SafetensorError) as error:
            raise _invalid(folder, str(error)) from error
        if index.projection_sha256 != shipped_sha256(index.encoder):
            raise _invalid(folder, "it was made with another version of the public projection")
        return index


def _tensors_name(digest: str) -> str:
    """File name of the tensors with that hash."""
    return f"style-index-{digest[:16]}.safetensors"


def _write_whole(path: Path, content: bytes) -> None:
    """Write under another name, flush to disk, rename; on failure nothing of it stays."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _parse(content: bytes) -> dict[str, Any]:
    """The JSON, with exactly the expected keys and types."""
    described = json.loads(content, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    if not isinstance(described, dict) or described.get("kind") != _KIND:
        raise ValueError("it is not a style index")
    if described.get("version") != _VERSION:
        raise ValueError("it was written by another version of fedstyle-secure")
    if set(described) != _KEYS:
        raise ValueError("its keys are not the expected ones")
    artists = described["artists"]
    if not isinstance(artists, list) or not all(isinstance(artist, str) for artist in artists):
        raise ValueError("its artists are not a list of names")
    if not isinstance(described["guarantee"], dict):
        raise ValueError("its guarantee is not an object")
    for key in ("projection_sha256", "tensors_sha256"):
        if not isinstance(described[key], str) or not _SHA256.fullmatch(described[key]):
            raise ValueError(f"its {key} is not 64 hexadecimal digits")
    try:
        shipped_sha256(described["encoder"])
    except (KeyError, TypeError) as error:
        raise ValueError("its encoder is not known") from error
    return described


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it holds a key twice")
    return found


def _no_constants(name: str) -> None:
    raise ValueError(f"it holds {name}, which is not JSON")


def _read_tensors(folder: Path, digest: str) -> dict[str, np.ndarray]:
    """The tensors of that hash, and no others."""
    content = (folder / _tensors_name(digest)).read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError("its tensors are not the ones that were saved")
    tensors = load(content)
    if set(tensors) != set(_TENSORS):
        raise ValueError("its tensors are not the expected ones")
    return tensors


def _invalid(folder: Path, problem: str) -> UsageError:
    return UsageError(
        ErrorCode.RUN_FOLDER_INVALID,
        f"The style index in {folder} cannot be used: {problem}.",
        fix="Run again with a fresh `--out` folder, or use the version of fedstyle-secure that wrote it.",
    )
