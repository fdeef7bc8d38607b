"""The loss of one artwork against what is already released: contrast with anchors, alignment with the server.

Flows in: embeddings of private artworks by the current head; anchors that were released before. Flows out:
one loss per artwork. Never seen here: the other artworks of the batch.

Usual contrastive losses couple the examples of a batch: removing one artwork changes the loss of all others,
and clipping gradients per artwork then bounds nothing. Here the comparison is with *released* prototypes,
constant within a step, so every term is a function of one artwork and of public things and clipping at C
bounds what one artwork can do by C under add-or-remove-one.

Inspired by FedStyle (arXiv 2404.16336): artists learn by contrast and align with the server's representation.
Its formulas could not be consulted and none of its results is claimed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["anchor_loss"]


def anchor_loss(
    embeddings: Float[Tensor, "artworks embedding"],
    *,
    own_anchor: Float[Tensor, " embedding"],
    other_anchors: Float[Tensor, "others embedding"],
    server_representation: Float[Tensor, " embedding"],
    temperature: float,
    alignment_weight: float,
) -> Float[Tensor, " artworks"]:
    """Loss of each artwork of one artist, each on its own.

    For an artwork with unit embedding z, the artist's released anchor p, the other artists' anchors c and the
    server's representation g (all scaled to unit length)::

        l = -log( e^(z.p / t) / (e^(z.p / t) + sum_c e^(z.c / t)) ) + a * (1 - z.g)

    The anchors are constants: no gradient flows into them, even where they were computed with the current
    head.

    Guarantees:
        Row i of the result, and its gradient, depend on row i of ``embeddings`` and on the released arguments
        only.

    Args:
        embeddings: embeddings of artworks by one artist.
        own_anchor: the artist's last released prototype, mapped by the current head.
        other_anchors: those of the other artists; may be empty, then the contrast is zero.
        server_representation: what the server holds for this artist.
        temperature: t, above 0; the lower, the more the nearest other artist counts.
        alignment_weight: a, 0 or more.

    Returns:
        One loss per artwork; not averaged, because an average would depend on how many there are.

    Raises:
        ValueError: the temperature is not above 0, the alignment weight is below 0, or the sizes do not
            agree.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    if not alignment_weight >= 0:
        raise ValueError(f"alignment_weight must be 0 or more, not {alignment_weight}")
    size = embeddings.shape[1]
    if (
        own_anchor.shape != (size,)
        or server_representation.shape != (size,)
        or other_anchors.shape[1:] != (size,)
    ):
        raise ValueError("anchors and server representation must have as many dimensions as the embeddings")
    unit = F.normalize(embeddings, dim=1)
    anchors = F.normalize(torch.cat([own_anchor[None], other_anchors]).detach(), dim=1)
    server = F.normalize(server_representation.detach(), dim=0)
    contrast = -F.log_softmax(unit @ anchors.T / temperature, dim=1)[:, 0]
    return contrast + alignment_weight * (1.0 - unit @ server)
