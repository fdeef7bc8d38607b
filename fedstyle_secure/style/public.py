"""The public projection: from an encoder's features to the small embedding that all else is computed on.

Flows in: features of any artwork. Flows out: its embedding, a function of that artwork and of public
constants alone. Never seen here: a statistic of private artworks; the constants were fitted on public
painters (`fedstyle_secure.style.fitting`).

The constants are package data, one file per encoder, made again by
``python -m fedstyle_secure.cli.fit_public_projection --encoder NAME --out DIR``. Their hashes are pinned
below: with other constants the same policy would mean other embeddings, and indexes of different runs could
not be compared.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files

import numpy as np
from jaxtyping import Float, Float64
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fedstyle_secure.errors import ErrorCode, SetupError
from fedstyle_secure.style.encoder import Encoder
from fedstyle_secure.style.fitting import CLIPPED_Z_SCORE, FittedProjection

__all__ = ["LARGEST_EMBEDDING", "PublicProjection", "load_projection", "pack_projection", "shipped_sha256"]

LARGEST_EMBEDDING = 64
"""Dimensions of the shipped projections; smaller embeddings are their leading dimensions."""

_KIND = "fedstyle-secure/public-projection"
_VERSION = 1
_PINNED_SHA256 = {
    "efficientnet-lite0": "1fcfc95604820ba5a3ab730ed1ea58fd8cac6de8c4ded97287e2f347b74dab0c",
    "colour-texture": "e048256a74766b113c47712cbf4d157651170cd1f6a6bf74eae3e2c5f47e0887",
}
_DTYPES = {
    "mean": np.float32,
    "scale": np.float32,
    "matrix": np.float16,
    "offset": np.float32,
    "energy": np.float32,
}


class PublicProjection:
    """From features to embeddings with public mean zero and public root mean square norm one.

    Args:
        encoder: whose features are projected.
        fitted: the public constants.
        embedding_size: how many of the leading dimensions to keep.
        sha256: hash of the file that the constants came from, in hexadecimal.
    """

    def __init__(
        self, *, encoder: Encoder, fitted: FittedProjection, embedding_size: int, sha256: str
    ) -> None:
        available = fitted.matrix.shape[1]
        if not 1 <= embedding_size <= available:
            raise ValueError(f"embedding_size must be 1 to {available}, not {embedding_size}")
        self.encoder_name = encoder.name
        self.embedding_size = embedding_size
        self.sha256 = sha256
        self._fitted = fitted
        self._histogram = encoder.layout.columns("colour-histogram")

    def project(
        self, features: Float[np.ndarray, "artworks features"]
    ) -> Float64[np.ndarray, "artworks embedding"]:
        """Embeddings of artworks, each on its own.

        Every feature is a public z-score, clipped at 4, before the projection, so one odd pixel statistic
        cannot rule an embedding.

        Args:
            features: what the encoder gave.

        Returns:
            One row per artwork.

        Raises:
            ValueError: the rows are not as long as the encoder's, or not finite.
        """
        self._check(features)
        fitted, size = self._fitted, self.embedding_size
        scores = np.clip((features - fitted.mean) / fitted.scale, -CLIPPED_Z_SCORE, CLIPPED_Z_SCORE)
        embeddings = scores @ fitted.matrix[:, :size] - fitted.offset[:size]
        return np.asarray(embeddings / np.sqrt(fitted.energy[:size].sum()), dtype=np.float64)

    def colour(
        self, features: Float[np.ndarray, "artworks features"]
    ) -> Float64[np.ndarray, "artworks colour"]:
        """Colour alone: root shares of the Lab histogram, less their public mean; the baseline to beat.

        The bins are not divided by their public deviation: that blows up rare colours and makes a weaker
        baseline, which would flatter everything compared with it.

        Args:
            features: what the encoder gave.

        Returns:
            One row per artwork.

        Raises:
            ValueError: the rows are not as long as the encoder's, or not finite.
        """
        self._check(features)
        centred = features[:, self._histogram] - self._fitted.mean[self._histogram]
        return np.asarray(centred, dtype=np.float64)

    def _check(self, features: Float[np.ndarray, "artworks features"]) -> None:
        expected = len(self._fitted.mean)
        if features.ndim != 2 or features.shape[1] != expected:
            raise ValueError(f"features must be (artworks, {expected}), not {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError("features must be finite")


def load_projection(encoder: Encoder, *, embedding_size: int) -> PublicProjection:
    """The shipped projection of an encoder.

    Args:
        encoder: the encoder whose features are to be projected.
        embedding_size: 1 to 64 dimensions; the leading ones are kept.

    Returns:
        The projection.

    Raises:
        SetupError: PUBLIC_DATA_CORRUPT, the file is missing, is not the pinned one, or belongs to another
            version of the encoder.
        ValueError: the embedding size is out of range.
    """
    content = _read(encoder.name)
    digest = hashlib.sha256(content).hexdigest()
    if digest != shipped_sha256(encoder.name):
        raise _corrupt(encoder.name, "is not the one this version was released with")
    fitted = _unpack(content, encoder)
    return PublicProjection(encoder=encoder, fitted=fitted, embedding_size=embedding_size, sha256=digest)


def shipped_sha256(encoder_name: str) -> str:
    """The pinned hash of an encoder's projection.

    Args:
        encoder_name: name of an encoder.

    Returns:
        SHA-256 in hexadecimal.

    Raises:
        KeyError: no encoder of that name is known.
    """
    return _PINNED_SHA256[encoder_name]


def pack_projection(fitted: FittedProjection, *, encoder: Encoder, painters: int, works: int) -> bytes:
    """The bytes of a projection's file. The same projection always gives the same bytes.

    Args:
        fitted: the constants.
        encoder: whose features they were fitted on.
        painters: how many public painters, for the record.
        works: how many works of each, for the record.

    Returns:
        A safetensors file; the matrix is kept in half precision, which moves an embedding by less than a
        thousandth.
    """
    tensors = {name: getattr(fitted, name).astype(dtype) for name, dtype in _DTYPES.items()}
    described = {
        "kind": _KIND,
        "version": _VERSION,
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint(),
        "public_painters": painters,
        "works_per_painter": works,
    }
    # One key only: safetensors does not promise an order of several.
    return save(tensors, metadata={"projection": json.dumps(described, sort_keys=True)})


def _read(encoder_name: str) -> bytes:
    try:
        return (files("fedstyle_secure.style") / "data" / f"{encoder_name}.safetensors").read_bytes()
    except OSError as error:
        raise _corrupt(encoder_name, "cannot be read") from error


def _unpack(content: bytes, encoder: Encoder) -> FittedProjection:
    """Check what the file says about itself, then take its arrays."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        described = json.loads(header["__metadata__"]["projection"])
        tensors = load(content)
        kind, fitted_for = (described["kind"], described["version"]), described["encoder_fingerprint"]
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _corrupt(encoder.name, "is not a projection") from error
    if kind != (_KIND, _VERSION):
        raise _corrupt(encoder.name, "is of another kind or version")
    if fitted_for != encoder.fingerprint():
        raise _corrupt(encoder.name, "was fitted for another version of the encoder")
    rows, columns = (encoder.feature_size,), (LARGEST_EMBEDDING,)
    shapes = {"mean": rows, "scale": rows, "matrix": rows + columns, "offset": columns, "energy": columns}
    found = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    if found != {name: (shape, np.dtype(_DTYPES[name])) for name, shape in shapes.items()}:
        raise _corrupt(encoder.name, "does not hold the expected arrays")
    return FittedProjection(**{name: tensor.astype(np.float64) for name, tensor in tensors.items()})


def _corrupt(encoder_name: str, problem: str) -> SetupError:
    return SetupError(
        ErrorCode.PUBLIC_DATA_CORRUPT,
        f"The public projection {encoder_name}.safetensors of this installation {problem}.",
        fix="Reinstall fedstyle-secure: `pip install --force-reinstall fedstyle-secure`.",
    )
