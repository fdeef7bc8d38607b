"""From public embeddings to the learned style space: the formula that training, search and measuring share.

Flows in: public embeddings of artworks, the released centre, the released head. Flows out: unit vectors.
Never seen here: pixels, labels, noise.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

__all__ = ["centred_directions", "style_embeddings", "unit_rows"]


def unit_rows(rows: Float[np.ndarray, "rows embedding"]) -> Float64[np.ndarray, "rows embedding"]:
    """Rows scaled to unit length; a row of zeros stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float64)


def centred_directions(
    projected: Float[np.ndarray, "artworks embedding"], *, centre: Float[np.ndarray, " embedding"]
) -> Float64[np.ndarray, "artworks embedding"]:
    """Directions of public embeddings as seen from the centre: what the head is applied to.

    Args:
        projected: what the public projection gave.
        centre: the released mean of all artworks' public embeddings.

    Returns:
        Unit rows.
    """
    return unit_rows(projected - centre)


def style_embeddings(
    projected: Float[np.ndarray, "artworks embedding"],
    *,
    centre: Float[np.ndarray, " embedding"],
    head_weight: Float[np.ndarray, "embedding embedding"],
) -> Float64[np.ndarray, "artworks embedding"]:
    """Style embeddings under a released centre and head.

    Args:
        projected: what the public projection gave.
        centre: the released mean of all artworks' public embeddings.
        head_weight: the released head's matrix.

    Returns:
        Unit rows; their cosines say how alike two styles are.
    """
    return unit_rows(centred_directions(projected, centre=centre) @ head_weight.T)
