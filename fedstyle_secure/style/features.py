"""The layout of a feature vector: named blocks, side by side, in one fixed order.

Flows in: what an encoder computed for one artwork, block by block. Flows out: one row of numbers whose
columns have the same meaning for every image. Never seen here: who made an artwork, and any statistic of
private artworks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

__all__ = ["COLOUR_BLOCKS", "FeatureBlock", "FeatureLayout"]

COLOUR_BLOCKS = ("colour-moments", "colour-histogram")
"""The blocks that every encoder has and that the "colour alone" baseline looks at."""


@dataclass(frozen=True)
class FeatureBlock:
    """A run of columns that belong together and are weighted as one.

    Args:
        name: what the columns say, unique within a layout.
        size: how many columns the block has.
    """

    name: str
    size: int


@dataclass(frozen=True)
class FeatureLayout:
    """The blocks of an encoder in their fixed order.

    Args:
        blocks: the blocks, first columns first.
    """

    blocks: tuple[FeatureBlock, ...]

    @property
    def size(self) -> int:
        """Number of columns over all blocks."""
        return sum(block.size for block in self.blocks)

    def columns(self, name: str) -> slice:
        """Where a block's columns lie.

        Args:
            name: the name of a block of this layout.

        Returns:
            The slice of columns.

        Raises:
            KeyError: the layout has no block of that name.
        """
        start = 0
        for block in self.blocks:
            if block.name == name:
                return slice(start, start + block.size)
            start += block.size
        raise KeyError(name)

    def block_sizes(self) -> np.ndarray:
        """For each column the size of the block it belongs to; shape ``(features,)``."""
        return np.concatenate([np.full(block.size, block.size) for block in self.blocks])

    def concatenate(
        self, parts: Mapping[str, Float32[np.ndarray, "artworks _"]]
    ) -> Float32[np.ndarray, "artworks features"]:
        """Lay computed blocks side by side.

        Args:
            parts: for each block of the layout its columns, and nothing else.

        Returns:
            One row per artwork.

        Raises:
            ValueError: a block is missing, unknown, or not as wide as the layout says; the layout has changed
                and its version was not.
        """
        names = [block.name for block in self.blocks]
        if set(parts) != set(names):
            raise ValueError(f"feature blocks {sorted(parts)} do not match the layout {names}")
        for block in self.blocks:
            if parts[block.name].shape[1] != block.size:
                raise ValueError(f"block {block.name} is {parts[block.name].shape[1]} wide, not {block.size}")
        return np.concatenate([parts[name] for name in names], axis=1).astype(np.float32)


def fingerprint(*, encoder: str, version: int, layout: FeatureLayout, ingredients: Sequence[str] = ()) -> str:
    """One short name for "these columns, computed this way".

    Args:
        encoder: name of the encoder.
        version: version of the code that computes the features; raised whenever a number can change.
        layout: the blocks and their sizes.
        ingredients: hashes of whatever else decides the numbers, such as pretrained weights.

    Returns:
        SHA-256 of the canonical JSON of all of it, in hexadecimal.
    """
    described = {
        "encoder": encoder,
        "version": version,
        "blocks": [[block.name, block.size] for block in layout.blocks],
        "ingredients": list(ingredients),
    }
    text = json.dumps(described, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
