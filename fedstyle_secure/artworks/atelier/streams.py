"""Random streams by name: the same words give the same numbers, whatever was painted before.

Flows in: words and numbers. Flows out: numpy generators. These streams make pictures; they never feed noise
or keys.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["stream"]

_DOMAIN = "fedstyle-secure atelier 1"


def stream(*words: str | int) -> np.random.Generator:
    """A random stream that depends on the words alone.

    The words are hashed rather than handed to `SeedSequence` as a tuple, because there tuples of different
    length can meet ((2**32, 5) and (0, 1, 5) do).

    Args:
        words: what the stream is for, from the general to the particular.

    Returns:
        A new generator.
    """
    digest = hashlib.sha256(repr((_DOMAIN, *words)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
