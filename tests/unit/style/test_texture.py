"""Texture features."""

from __future__ import annotations

import numpy as np
import torch

from fedstyle_secure.style.texture import TEXTURE_FEATURE_BLOCKS, texture_features


def _stripes(*, vertical: bool, period_px: int) -> torch.Tensor:
    """Stripes of L between 20 and 80, a and b zero."""
    wave = (torch.arange(64) // (period_px // 2)) % 2 * 60.0 + 20.0
    lightness = wave.expand(64, 64) if vertical else wave[:, None].expand(64, 64)
    return torch.stack([lightness, torch.zeros(64, 64), torch.zeros(64, 64)])[None]


def test_the_blocks_are_as_declared_and_finite_even_for_a_blank_image() -> None:
    for image in (torch.zeros(2, 3, 32, 32), torch.full((2, 3, 128, 128), 50.0)):
        features = texture_features(image)
        assert {name: block.shape[1] for name, block in features.items()} == {
            block.name: block.size for block in TEXTURE_FEATURE_BLOCKS
        }
        assert all(torch.isfinite(block).all() for block in features.values())


def test_blank_paint_is_flat() -> None:
    features = texture_features(torch.full((1, 3, 64, 64), 50.0))
    for name in ("gradient-strength", "local-contrast"):
        shares = features[name][0] ** 2
        assert shares.reshape(-1, 8)[:, 0].tolist() == [1.0] * (len(shares) // 8)
    patterns = features["local-binary-patterns"][0].reshape(-1, 10) ** 2
    assert patterns[:, 0].tolist() == [1.0] * 6  # no neighbour is visibly lighter or darker


def test_turning_the_picture_by_a_right_angle_keeps_patterns_and_strengths() -> None:
    upright = texture_features(_stripes(vertical=True, period_px=8))
    turned = texture_features(_stripes(vertical=False, period_px=8))
    for name in ("local-binary-patterns", "gradient-strength", "local-contrast"):
        torch.testing.assert_close(upright[name], turned[name], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(upright["filter-modulation"], turned["filter-modulation"], atol=0.1)


def test_coarse_and_fine_marks_differ() -> None:
    fine = texture_features(_stripes(vertical=True, period_px=4))
    coarse = texture_features(_stripes(vertical=True, period_px=16))
    for name in fine:
        assert (fine[name] - coarse[name]).abs().max() > 0.05, name


def test_grain_below_what_the_eye_sees_changes_no_pattern() -> None:
    grain = torch.from_numpy(np.random.default_rng(0).uniform(-0.4, 0.4, (1, 3, 64, 64))).float()
    blank = torch.full((1, 3, 64, 64), 50.0)
    name = "local-binary-patterns"
    torch.testing.assert_close(texture_features(blank + grain)[name], texture_features(blank)[name])
