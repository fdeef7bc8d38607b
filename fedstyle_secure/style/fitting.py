"""How a public projection is made from public painters: when the package is made, never on private works.

Flows in: features of public artworks and which painter made each. Flows out: the few arrays that
`fedstyle_secure.style.public` ships and reads. Never seen here: a private artwork; whatever is fitted here
costs no privacy only because its input is public.

Two linear steps are folded into one matrix. A half-whitened principal-component projection weakens the
directions that vary most (mostly content). Then one linear map is trained by supervised contrast between
painters (Khosla et al. 2020, "Supervised Contrastive Learning", L_out of equation 2, averaged over all
positive pairs): works by one painter come together, works of different painters move apart. That loss couples
artworks, which is fine on public data and would not be on private ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from fedstyle_secure.style.features import FeatureLayout

__all__ = ["CLIPPED_Z_SCORE", "FitSettings", "FittedProjection", "fit_projection"]

CLIPPED_Z_SCORE = 4.0
"""No single feature may pull harder than four public standard deviations."""

_STANDARD_DEVIATION_FLOOR = 0.05


@dataclass(frozen=True)
class FitSettings:
    """How to fit; the defaults are what the shipped projections were made with.

    Args:
        embedding_size: dimensions of the result.
        components: principal components that the trained map starts from.
        steps: steps of Adam; 0 leaves the contrast out and keeps the leading components.
        learning_rate: of Adam, decayed to nothing by half a cosine.
        temperature: of the contrast.
        painters_per_step: painters in one step's batch.
        works_per_painter: works of each of them in it.
        seed: decides which painters and works come when.
    """

    embedding_size: int = 64
    components: int = 256
    steps: int = 800
    learning_rate: float = 1e-3
    temperature: float = 0.1
    painters_per_step: int = 96
    works_per_painter: int = 4
    seed: int = 0


@dataclass(frozen=True)
class FittedProjection:
    """The arrays of a projection: ``clip((features - mean) / scale) @ matrix - offset``.

    Args:
        mean: public mean of each feature.
        scale: public standard deviation of each feature, floored.
        matrix: from clipped z-scores to the embedding; the first d columns are the best d.
        offset: public mean of what the matrix gives.
        energy: public mean square of each embedding dimension; the total is 1.
    """

    mean: Float64[np.ndarray, " features"]
    scale: Float64[np.ndarray, " features"]
    matrix: Float64[np.ndarray, "features embedding"]
    offset: Float64[np.ndarray, " embedding"]
    energy: Float64[np.ndarray, " embedding"]


def fit_projection(
    features: Float[np.ndarray, "artworks features"],
    painters: Int[np.ndarray, " artworks"],
    *,
    layout: FeatureLayout,
    settings: FitSettings = FitSettings(),
    progress: Callable[[int, int], None] | None = None,
) -> FittedProjection:
    """Fit a projection on public artworks. The same input and the same library versions give the same result.

    Args:
        features: what an encoder made of the public artworks.
        painters: for each artwork a number that is the same for works of the same painter.
        layout: the encoder's feature layout; every block gets the same weight, whatever its size.
        settings: how to fit.
        progress: called with (steps done, steps in all).

    Returns:
        The projection's arrays.

    Raises:
        ValueError: the features are not those of the layout, or there is not one painter for each of them.
    """
    if features.shape != (len(painters), layout.size):
        raise ValueError(f"features must be ({len(painters)}, {layout.size}), not {features.shape}")
    mean, scale = _standardisation(features)
    weight = 1.0 / np.sqrt(layout.block_sizes())
    scores = np.clip((features - mean) / scale, -CLIPPED_Z_SCORE, CLIPPED_Z_SCORE) * weight
    whiten = _half_whitened_components(scores, count=settings.components)
    components = scores @ whiten
    centre = components.mean(axis=0)
    rms = np.sqrt(((components - centre) ** 2).sum(axis=1).mean())
    trained = _train_contrast((components - centre) / rms, painters, settings=settings, progress=progress)
    embedded = (components - centre) / rms @ trained
    rotation, energy = _ordered_axes(embedded)
    total = np.sqrt(energy.sum())
    matrix = weight[:, None] * (whiten @ trained @ rotation) / (rms * total)
    offset = centre @ trained @ rotation / (rms * total)
    return FittedProjection(mean=mean, scale=scale, matrix=matrix, offset=offset, energy=energy / total**2)


def _standardisation(
    features: Float[np.ndarray, "artworks features"],
) -> tuple[Float64[np.ndarray, " features"], Float64[np.ndarray, " features"]]:
    """Mean and standard deviation of each feature; a feature that hardly varies is not blown up."""
    values = features.astype(np.float64)
    deviation = values.std(axis=0)
    return values.mean(axis=0), np.maximum(deviation, _STANDARD_DEVIATION_FLOOR * deviation.mean() + 1e-6)


def _half_whitened_components(
    scores: Float64[np.ndarray, "artworks features"], *, count: int
) -> Float64[np.ndarray, "features components"]:
    """Leading principal directions, each divided by the fourth root of its (floored) variance."""
    centred = scores - scores.mean(axis=0)
    variance, directions = np.linalg.eigh(centred.T @ centred / len(scores))
    variance, directions = np.maximum(variance[::-1][:count], 1e-9), directions[:, ::-1][:, :count]
    return np.asarray(_signed(directions) * (variance + 0.05 * variance.mean()) ** -0.25)


def _train_contrast(
    components: Float64[np.ndarray, "artworks components"],
    painters: Int[np.ndarray, " artworks"],
    *,
    settings: FitSettings,
    progress: Callable[[int, int], None] | None,
) -> Float64[np.ndarray, "components embedding"]:
    """A linear map that tells public painters apart by the cosine of their works' embeddings."""
    generator = np.random.default_rng(settings.seed)
    works_of = [np.flatnonzero(painters == painter) for painter in np.unique(painters)]
    values = torch.from_numpy(components.astype(np.float32))
    weight = torch.eye(components.shape[1], settings.embedding_size).requires_grad_(True)
    optimizer = torch.optim.Adam([weight], lr=settings.learning_rate)
    chosen_count = min(settings.painters_per_step, len(works_of))
    labels = torch.arange(chosen_count).repeat_interleave(settings.works_per_painter)
    for step in range(settings.steps):
        optimizer.param_groups[0]["lr"] = (
            settings.learning_rate * (1 + np.cos(np.pi * step / settings.steps)) / 2
        )
        chosen = generator.choice(len(works_of), chosen_count, replace=False)
        works = np.concatenate([_pick(generator, works_of[p], settings.works_per_painter) for p in chosen])
        optimizer.zero_grad()
        loss = _supervised_contrast(values[works] @ weight, labels, temperature=settings.temperature)
        torch.autograd.backward(loss)
        optimizer.step()
        if progress is not None:
            progress(step + 1, settings.steps)
    return weight.detach().numpy().astype(np.float64)


def _pick(
    generator: np.random.Generator, works: Int[np.ndarray, " works"], count: int
) -> Int[np.ndarray, " count"]:
    """Some works of one painter, repeated only where there are too few."""
    return generator.choice(works, count, replace=len(works) < count)


def _supervised_contrast(embeddings: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Mean over positive pairs of -log softmax of their cosine among all other artworks of the batch."""
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool)
    similarity = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    log_share = similarity - torch.logsumexp(similarity, dim=1, keepdim=True)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    return -log_share[positive].mean()


def _ordered_axes(
    embedded: Float64[np.ndarray, "artworks embedding"],
) -> tuple[Float64[np.ndarray, "embedding embedding"], Float64[np.ndarray, " embedding"]]:
    """The rotation onto the public principal axes, most energy first, and the energy along each."""
    energy, axes = np.linalg.eigh(embedded.T @ embedded / len(embedded))
    return _signed(axes[:, ::-1]), energy[::-1].copy()


def _signed(directions: Float64[np.ndarray, "rows columns"]) -> Float64[np.ndarray, "rows columns"]:
    """Columns turned so that their largest entry is positive, because eigenvectors come with either sign."""
    largest = np.abs(directions).argmax(axis=0)
    return np.asarray(directions * np.sign(directions[largest, np.arange(directions.shape[1])]))
