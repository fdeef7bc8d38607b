"""Colour features."""

from __future__ import annotations

import numpy as np
import pytest

from fedstyle_secure.style.colour import COLOUR_FEATURE_BLOCKS, colour_features, rgb_to_lab


def _plain(*rgb: int) -> np.ndarray:
    return np.full((1, 32, 32, 3), rgb, dtype=np.uint8)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0.0, 0.0)),
    ],
)
def test_lab_of_known_colours(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(rgb_to_lab(_plain(*rgb)[0])[0, 0], lab, atol=0.02)


def test_the_blocks_are_as_declared_and_the_histogram_is_of_shares() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    features = colour_features(images)
    assert {name: block.shape[1] for name, block in features.items()} == {
        block.name: block.size for block in COLOUR_FEATURE_BLOCKS
    }
    np.testing.assert_allclose((features["colour-histogram"] ** 2).sum(axis=1), 1.0, rtol=1e-5)


def test_where_the_pixels_are_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    shuffled = rng.permutation(image.reshape(-1, 3)).reshape(image.shape)
    for name, block in colour_features(image).items():
        np.testing.assert_allclose(colour_features(shuffled)[name], block, rtol=1e-4, atol=1e-5)


def test_near_neutral_greys_share_a_bin() -> None:
    greys = [colour_features(_plain(*rgb))["colour-histogram"] for rgb in ((120, 120, 120), (121, 120, 119))]
    np.testing.assert_array_equal(greys[0], greys[1])


def test_moments_are_mean_spread_and_skew() -> None:
    image = _plain(0, 0, 0)
    image[0, :8] = 255  # a quarter of white, L 0 or 100
    moments = colour_features(image)["colour-moments"][0]
    mean, spread, third = 25.0, np.sqrt(0.25 * 0.75) * 100, 0.25 * 75**3 - 0.75 * 25**3
    np.testing.assert_allclose(moments[[0, 3, 6]], [mean, spread, np.cbrt(third)], rtol=1e-4)
    np.testing.assert_allclose(moments[[1, 2, 4, 5, 7, 8]], 0.0, atol=0.05)
