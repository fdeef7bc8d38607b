"""Fitting a public projection, on features made up so that the right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from fedstyle_secure.style.features import FeatureBlock, FeatureLayout
from fedstyle_secure.style.fitting import CLIPPED_Z_SCORE, FitSettings, FittedProjection, fit_projection

LAYOUT = FeatureLayout((FeatureBlock("style", 4), FeatureBlock("content", 60)))
SETTINGS = FitSettings(embedding_size=8, components=32, steps=150, learning_rate=1e-2)


def _public(painters: int = 150, works: int = 8, *, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four features that belong to the painter, sixty louder ones that belong to the work."""
    rng = np.random.default_rng([1, first])
    style = np.repeat(rng.standard_normal((painters, 4)), works, axis=0)
    directions = np.random.default_rng(9).standard_normal((12, 60))  # content varies alike for all painters
    content = rng.standard_normal((painters * works, 12)) @ directions * 5
    rows = np.concatenate([style + 0.3 * rng.standard_normal(style.shape), content], axis=1) + 3
    return rows.astype(np.float32), np.repeat(np.arange(painters), works)


def _embed(fitted: FittedProjection, features: np.ndarray) -> np.ndarray:
    scores = np.clip((features - fitted.mean) / fitted.scale, -CLIPPED_Z_SCORE, CLIPPED_Z_SCORE)
    return scores @ fitted.matrix - fitted.offset


def _nearest_is_same_painter(embedded: np.ndarray, painters: np.ndarray) -> float:
    unit = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    similarity = unit @ unit.T - 9 * np.eye(len(unit))
    return float((painters[similarity.argmax(axis=1)] == painters).mean())


@pytest.fixture(scope="module")
def fitted() -> FittedProjection:
    return fit_projection(*_public(), layout=LAYOUT, settings=SETTINGS)


def test_the_same_input_gives_the_same_arrays(fitted: FittedProjection) -> None:
    again = fit_projection(*_public(), layout=LAYOUT, settings=SETTINGS)
    for name in vars(fitted):
        np.testing.assert_array_equal(getattr(again, name), getattr(fitted, name))


def test_fitting_leaves_the_global_random_state_alone() -> None:
    before = np.random.get_state()[1].copy()
    fit_projection(*_public(12), layout=LAYOUT, settings=FitSettings(embedding_size=4, components=8, steps=2))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_public_embeddings_have_mean_zero_and_unit_rms_norm_and_ordered_energy(
    fitted: FittedProjection,
) -> None:
    embedded = _embed(fitted, _public()[0])
    np.testing.assert_allclose(embedded.mean(axis=0), 0.0, atol=1e-6)
    assert (embedded**2).sum(axis=1).mean() == pytest.approx(1.0, rel=1e-6)
    np.testing.assert_allclose((embedded**2).mean(axis=0), fitted.energy, rtol=1e-6)
    assert (np.diff(fitted.energy) <= 1e-12).all()
    cross = embedded.T @ embedded / len(embedded)
    np.testing.assert_allclose(cross, np.diag(fitted.energy), atol=1e-6)


def test_contrast_finds_what_belongs_to_the_painter_on_painters_it_never_saw(
    fitted: FittedProjection,
) -> None:
    rows, painters = _public(first=1)
    without = fit_projection(
        *_public(), layout=LAYOUT, settings=FitSettings(embedding_size=8, components=32, steps=0)
    )
    trained = _nearest_is_same_painter(_embed(fitted, rows), painters)
    untrained = _nearest_is_same_painter(_embed(without, rows), painters)
    assert trained > 1.4 * untrained


def test_a_feature_that_never_varies_does_no_harm() -> None:
    rows, painters = _public(20)
    rows[:, 10] = 7.0
    fitted = fit_projection(
        rows, painters, layout=LAYOUT, settings=FitSettings(embedding_size=4, components=8, steps=5)
    )
    assert all(np.isfinite(array).all() for array in vars(fitted).values())
    assert np.isfinite(_embed(fitted, rows + 1)).all()


def test_blocks_weigh_the_same_whatever_their_size() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((400, 64)).astype(np.float32)
    fitted = fit_projection(
        rows,
        np.repeat(np.arange(50), 8),
        layout=LAYOUT,
        settings=FitSettings(embedding_size=64, components=64, steps=0),
    )
    # Half-whitening keeps the square root of a block's weight in the strength of each of its columns.
    strength = np.linalg.norm(fitted.matrix, axis=1)
    assert strength[:4].mean() / strength[4:].mean() > 1.7


def test_features_of_another_layout_are_refused() -> None:
    rows, painters = _public(4)
    with pytest.raises(ValueError, match="features must be"):
        fit_projection(rows[:, :-1], painters, layout=LAYOUT)
    with pytest.raises(ValueError, match="features must be"):
        fit_projection(rows, painters[:-1], layout=LAYOUT)
