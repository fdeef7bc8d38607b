"""Small real exercises of the libraries that a run leans on.

Flows in: the name of a probe, as `python -P -m fedstyle_secure.cli.probes NAME`. Flows out: one line that
says what worked, or an exception. Each runs in a process of its own: a library that was built for another
processor ends that process, not `doctor`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from fedstyle_secure.errors import ExitCode, FedStyleSecureError

__all__ = ["PROBES", "main"]


def _probe_tenseal() -> str:
    import tenseal  # noqa: PLC0415 - each probe imports only what it tries

    context: Any = tenseal.context(tenseal.SCHEME_TYPE.BFV, poly_modulus_degree=4096, plain_modulus=1032193)
    left, right = list(range(100)), [1000 - 3 * value for value in range(100)]
    total = (tenseal.bfv_vector(context, left) + tenseal.bfv_vector(context, right)).decrypt()
    if total != [a + b for a, b in zip(left, right, strict=True)]:
        raise ArithmeticError("the sum of two encrypted vectors is not their sum")
    return "two encrypted vectors were added and opened exactly"


def _probe_secure_sum() -> str:
    import numpy as np  # noqa: PLC0415

    from fedstyle_secure.secure_aggregation import sum_securely  # noqa: PLC0415

    ramp = np.linspace(-1, 1, 1000)
    vectors = {"ana": ramp, "ben": ramp**2, "eva": -ramp / 3}
    rounding_step = 1 / (2**15 - 1)
    error = float(np.abs(sum_securely(vectors, value_limit=1.0) - sum(vectors.values())).max())
    if not error <= len(vectors) * rounding_step:
        raise ArithmeticError(f"a masked and encrypted sum is off by {error:.3g}")
    return "three masked and encrypted vectors were added blindly and opened"


def _probe_opacus() -> str:
    import warnings  # noqa: PLC0415

    import torch  # noqa: PLC0415
    from opacus import GradSampleModule  # noqa: PLC0415
    from opacus.optimizers import DPOptimizer  # noqa: PLC0415

    # PyTorch's note on hooks of modules whose inputs need no gradient; nothing to act on.
    warnings.simplefilter("ignore")
    examples = torch.linspace(-3, 3, 40).reshape(8, 5)
    weights = torch.linspace(-1, 1, 10).reshape(2, 5)
    layer = torch.nn.Linear(5, 2, bias=False)
    layer.weight.data.copy_(weights)
    # By hand: the loss of an example is |W x|^2 / 2, so its gradient is (W x) x^T, clipped to length 1.
    gradients = [torch.outer(weights @ example, example) for example in examples]
    clipped = sum((gradient / max(1.0, float(gradient.norm())) for gradient in gradients), torch.zeros(2, 5))
    module = GradSampleModule(layer)
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=1.0,
        expected_batch_size=1,
    )
    (module(examples).square().sum(dim=1) / 2).sum().backward()
    optimizer.step()
    error = float((weights - clipped - layer.weight.detach()).abs().max())
    if not error < 1e-4:
        raise ArithmeticError(f"a clipped step of Opacus is off by {error:.3g}")
    return "one step with per-example clipping equals the one worked out by hand"


def _probe_colour_texture() -> str:
    return _style_probe("colour-texture")


def _probe_efficientnet() -> str:
    return _style_probe("efficientnet-lite0")


def _style_probe(name: Any) -> str:
    import numpy as np  # noqa: PLC0415

    from fedstyle_secure.style.encoder import load_encoder  # noqa: PLC0415
    from fedstyle_secure.style.public import load_projection  # noqa: PLC0415

    encoder = load_encoder(name)
    projection = load_projection(encoder, embedding_size=64)
    ramp = np.arange(128 * 128 * 3, dtype=np.int64).reshape(1, 128, 128, 3) % 251
    embedding = projection.project(encoder.encode(ramp.astype(np.uint8)))
    if embedding.shape != (1, 64) or not np.isfinite(embedding).all():
        raise ArithmeticError("an image was not turned into 64 finite numbers")
    return f"an image was embedded; the public projection is intact ({projection.sha256[:12]})"


PROBES: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "tenseal": _probe_tenseal,
        "secure sum": _probe_secure_sum,
        "opacus": _probe_opacus,
        "colour-texture": _probe_colour_texture,
        "efficientnet-lite0": _probe_efficientnet,
    }
)


def main() -> None:
    """Run the probe that the command line names, and print what worked, or what is wrong and what to do."""
    try:
        print(PROBES[sys.argv[1]]())
    except FedStyleSecureError as error:
        print(f"{error.message}\n{error.fix}", file=sys.stderr)
        sys.exit(ExitCode.SETUP)


if __name__ == "__main__":
    main()
