"""The only thing that is trained on private works: a square linear map that starts as the identity.

Flows in: centred public embeddings of artworks. Flows out: unit vectors whose cosine says how alike two
styles are. Never seen here: pixels, labels, noise.

At the start the head changes nothing, so a run that learns nothing is as good as the public representation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["StyleHead"]


class StyleHead(nn.Module):
    """A linear map without bias, then projection to the unit sphere.

    Each row of the output depends on the same row of the input alone, which is what clipping per artwork
    needs.

    Args:
        embedding_size: dimensions in and out.
    """

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding_size, embedding_size, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(embedding_size))

    def forward(self, embeddings: Float[Tensor, "artworks embedding"]) -> Float[Tensor, "artworks embedding"]:
        """Map to the learned style space.

        Args:
            embeddings: centred public embeddings.

        Returns:
            Rows of unit length; a row of zeros stays zero.
        """
        return F.normalize(self.linear(embeddings), dim=1)
