"""Clipped sums of per-example gradients, by Opacus.

Flows in: a module, a loss with one value for each example, examples. Flows out: the sum of the examples'
clipped gradients. Opacus computes the per-example gradients (hooks) and clips and sums them (its
DPOptimizer); the noise, the divisor and the step size are not its business here. No number in this module is
derived from how many examples there are.

Everything is computed in double precision on a copy of the module, so that rounding cannot carry a sum past
its sensitivity, and the caller's module gets neither hooks nor gradients.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from fedstyle_secure.errors import BudgetError, ErrorCode
from fedstyle_secure.privacy._checks import require_positive
from fedstyle_secure.privacy.release import ROUNDING_MARGIN, ClippedSum

__all__ = ["Examples", "PerExampleGradient", "PerExampleLoss", "clipped_gradient_sum"]

Examples = Tensor | tuple[Tensor, ...]
PerExampleLoss = Callable[..., Float[Tensor, " examples"]]

# Two computations of one gradient in double precision differ by about 1e-15 of it; a loss that couples its
# examples by less than this share of a gradient, or of the clip, is not noticed.
_COUPLING_TOLERANCE = 1e-7
_NEGLIGIBLE_SHARE_OF_CLIP = 1e-9


def clipped_gradient_sum(
    module: nn.Module, per_example_loss: PerExampleLoss, examples: Examples, *, clip_norm_l2: float
) -> ClippedSum:
    """Sum the clipped per-example gradients of a loss, once.

    Who does this every round keeps a `PerExampleGradient`, which wraps the module and checks the loss only
    once. Arguments, result, errors and guarantees are those of `PerExampleGradient` and
    `PerExampleGradient.clipped_sum`.
    """
    return PerExampleGradient(module, clip_norm_l2=clip_norm_l2).clipped_sum(per_example_loss, examples)


@final
class PerExampleGradient:
    """Computes clipped sums of per-example gradients for one module.

    Args:
        module: what is trained. Its parameter values are read anew at every call; it is not changed. A module
            that Opacus has wrapped may be given, too. What has parameters to train runs in training mode, the
            rest in the mode it is in now.
        clip_norm_l2: L2 bound on each example's gradient over all trainable parameters together, above 0.

    Raises:
        BudgetError: the clip is 0, negative, infinite or NaN; the module has nothing to train, or a layer
            that lets examples influence one another (batch normalisation).
    """

    def __init__(self, module: nn.Module, *, clip_norm_l2: float) -> None:
        self._clip_norm_l2 = require_positive("clip_norm_l2", clip_norm_l2)
        self._module = module._module if isinstance(module, GradSampleModule) else module
        self._copy = _private_copy(self._module)
        _require_supported(self._copy)
        self._nonfinite_examples = 0
        self._checked_loss: PerExampleLoss | None = None
        self._wrapped = GradSampleModule(self._copy, loss_reduction="sum")
        self._parameters: list[Any] = [p for p in self._copy.parameters() if p.requires_grad]
        self._optimizer = DPOptimizer(
            torch.optim.SGD(self._parameters, lr=1.0),  # never steps
            noise_multiplier=0.0,
            max_grad_norm=self._clip_norm_l2 * ROUNDING_MARGIN,
            expected_batch_size=None,
            loss_reduction="sum",
        )

    def __repr__(self) -> str:
        return f"PerExampleGradient(clip_norm_l2={self._clip_norm_l2})"

    @property
    def nonfinite_examples(self) -> int:
        """How often an example was left out for a NaN or infinite gradient. As private as the examples."""
        return self._nonfinite_examples

    def clipped_sum(self, per_example_loss: PerExampleLoss, examples: Examples) -> ClippedSum:
        """Sum the clipped per-example gradients of a loss.

        Args:
            per_example_loss: `per_example_loss(outputs, *others)` returns one value for each example, which
                may depend on that example and on constants only. `outputs` is what the module makes of the
                examples, in double precision.
            examples: a tensor whose first dimension counts the examples, or a tuple of such tensors: the
                module gets the first, the loss gets the others (labels, for instance). Several views of one
                example are one example: give them a dimension of their own, and average over it in the loss.

        Returns:
            The sum over the examples, flattened in the order of `module.parameters()`, trainable ones only.

        Raises:
            BudgetError: the loss of an example depends on other examples, or is not one value for each
                example.

        Guarantees:
            If the loss of each example depends on that example and constants only, adding or removing one
            example moves the sum by at most the clip, and replacing one by at most twice the clip. Nothing is
            random but dropout.

            Edge cases: no examples give zeros. An example whose gradient holds a NaN or an infinity
            contributes zero. Parameters that the loss does not reach contribute zero. A gradient that flows
            otherwise than through the module's outputs (a loss that reads a parameter itself) is not seen.

            A new loss is checked on the examples at hand: gradients in the batch are compared with those in
            smaller batches, such that every two examples are apart in some of them. This finds batch means,
            losses against other examples of the batch, and divisors taken from its size. It cannot find a
            coupling that shows on other examples only, or where gradients vanish, or one that hides from the
            check on purpose. Dropout layers rest during the check; dropout drawn in another way looks like
            coupling and is refused. Losses are told apart by identity: a new function object is checked anew.
        """
        tensors = _as_doubles(examples)
        if len(tensors[0]) == 0:
            return ClippedSum(np.zeros(sum(p.numel() for p in self._parameters)), self._clip_norm_l2)
        self._follow_module()
        if per_example_loss is not self._checked_loss:
            self._require_uncoupled(per_example_loss, tensors)
        with self._gradients(per_example_loss, tensors):
            self._zero_nonfinite(len(tensors[0]))
            self._optimizer.clip_and_accumulate()
            values = torch.cat([parameter.summed_grad.reshape(-1) for parameter in self._parameters])
        if len(tensors[0]) > 1:
            self._checked_loss = per_example_loss
        return ClippedSum(values.numpy(), self._clip_norm_l2)

    def _follow_module(self) -> None:
        with torch.no_grad():
            for own, theirs in zip(_tensors(self._copy), _tensors(self._module), strict=True):
                own.copy_(theirs)

    @contextmanager
    def _gradients(self, per_example_loss: PerExampleLoss, examples: Sequence[Tensor]) -> Iterator[None]:
        """Within this context, and not after it, `grad_sample` of each parameter holds Opacus' gradients."""
        try:
            with torch.enable_grad(), warnings.catch_warnings():
                # Torch tells that no gradient flows on into the examples; none is wanted.
                warnings.filterwarnings(
                    "ignore", message="Full backward hook is firing", category=UserWarning
                )
                losses = per_example_loss(self._wrapped(examples[0]), *examples[1:])
                _require_one_each(losses, len(examples[0]))
                torch.autograd.backward(losses.sum())
            for parameter in self._parameters:
                shape = (len(examples[0]), *parameter.shape)
                if parameter.grad_sample is None:
                    parameter.grad_sample = parameter.new_zeros(shape)
                elif parameter.grad_sample.shape != shape:
                    # Clipping rows that are not whole examples would bound something else.
                    raise _not_supported(
                        "a layer gets its input with something else than the examples in the first dimension",
                        "Keep one row for each example in every layer; views and positions come later.",
                    )
            yield
        finally:
            # A pass that broke off, or a layer that the loss ignores, leaves Opacus' counters half-way.
            for layer in self._copy.modules():
                _forget_pass(layer)
            for parameter in self._parameters:
                parameter._forward_counter = 0
                parameter.__dict__.pop("_current_grad_sample", None)
            self._optimizer.zero_grad(set_to_none=True)

    def _zero_nonfinite(self, examples: int) -> None:
        finite = torch.ones(examples, dtype=torch.bool)
        for parameter in self._parameters:
            finite &= parameter.grad_sample.reshape(examples, -1).isfinite().all(dim=1)
        if not finite.all():
            self._nonfinite_examples += int((~finite).sum())
            for parameter in self._parameters:
                parameter.grad_sample[~finite] = 0

    def _require_uncoupled(self, per_example_loss: PerExampleLoss, examples: Sequence[Tensor]) -> None:
        if len(examples[0]) == 1:
            examples = [_with_company(tensor) for tensor in examples]
        with _without_dropout(self._copy):
            together = self._gradient_rows(per_example_loss, examples)
            for part in _parts_that_separate_every_pair(len(together)):
                apart = self._gradient_rows(per_example_loss, [tensor[part] for tensor in examples])
                if not self._same_rows(together[part], apart):
                    raise _coupled()

    def _gradient_rows(
        self, per_example_loss: PerExampleLoss, examples: Sequence[Tensor]
    ) -> Float[Tensor, "examples parameters"]:
        with self._gradients(per_example_loss, examples):
            rows = torch.cat([p.grad_sample.reshape(len(examples[0]), -1) for p in self._parameters], dim=1)
            whole = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in self._parameters]
            gradient = torch.cat([part.reshape(-1) for part in whole])
            # Where a layer's per-example gradients are wrong, or a parameter is used past its layer, they do
            # not add up to torch's.
            if rows.isfinite().all() and not self._same_rows(rows.sum(dim=0)[None], gradient[None]):
                raise _not_supported(
                    "Opacus' per-example gradients do not add up to the gradient of the batch",
                    "Use each parameter through its own layer, and layers that Opacus supports.",
                )
            return rows

    def _same_rows(self, one: Float[Tensor, "rows values"], other: Float[Tensor, "rows values"]) -> bool:
        finite: Bool[Tensor, " rows"] = one.isfinite().all(dim=1)
        if not torch.equal(finite, other.isfinite().all(dim=1)):
            return False
        difference = (one - other)[finite].norm(dim=1)
        size = torch.maximum(one[finite].norm(dim=1), other[finite].norm(dim=1))
        # Relative to the clip as well: where a gradient vanishes, only rounding is left of it.
        tolerance = _COUPLING_TOLERANCE * size + _NEGLIGIBLE_SHARE_OF_CLIP * self._clip_norm_l2
        return bool((difference <= tolerance).all())


def _private_copy(module: nn.Module) -> nn.Module:
    """A double-precision copy, without the hooks of a wrapper that is still alive."""
    own = copy.deepcopy(module).double()
    hooks = [handle.id for handle in own.__dict__.pop("autograd_grad_sample_hooks", [])]
    for layer in own.modules():
        for hook in hooks:
            layer._forward_hooks.pop(hook, None)
            layer._backward_hooks.pop(hook, None)
        layer.__dict__.pop("ft_compute_sample_grad", None)
        _forget_pass(layer)
        # Opacus records nothing in evaluation mode. Layers without anything to train keep the mode that they
        # were given in.
        if any(parameter.requires_grad for parameter in layer.parameters()):
            layer.training = True
    return own


def _forget_pass(layer: nn.Module) -> None:
    layer.__dict__.pop("activations", None)
    layer.__dict__.pop("max_batch_len", None)


def _require_supported(module: nn.Module) -> None:
    kinds = {
        type(layer).__name__
        for layer in module.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    }
    if kinds:
        raise _not_supported(
            f"{', '.join(sorted(kinds))} makes one example's output depend on the others of its batch",
            "Use torch.nn.GroupNorm in its place, or opacus.validators.ModuleValidator.fix(module).",
        )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise _not_supported(
            "the module has no trainable parameter", "Set requires_grad on what is to be trained."
        )
    problems = ModuleValidator.validate(module, strict=False) + GradSampleModule.validate(
        module, strict=False
    )
    if problems:
        raise _not_supported(
            f"Opacus has no per-example gradients for it: {problems[0]}",
            "Replace the layer, or try opacus.validators.ModuleValidator.fix(module).",
        )


def _not_supported(message: str, fix: str) -> BudgetError:
    return BudgetError(ErrorCode.MODULE_NOT_SUPPORTED, message, fix=fix)


def _coupled() -> BudgetError:
    return BudgetError(
        ErrorCode.LOSS_COUPLES_EXAMPLES,
        "the gradient of one example changes when others leave the batch, so clipping bounds nothing",
        fix="Let each example's loss depend on that example and on released constants only: no batch mean, "
        "no comparison within the batch, no division by its size. Compare with released anchors instead.",
    )


def _require_one_each(losses: object, examples: int) -> None:
    if not isinstance(losses, Tensor) or losses.shape != (examples,):
        raise BudgetError(
            ErrorCode.LOSS_COUPLES_EXAMPLES,
            "the loss does not return one value for each example",
            fix="Return a vector with one loss for each example; do not average or sum over examples.",
        )
    if not losses.requires_grad:
        raise BudgetError(
            ErrorCode.PRIVACY_PARAMETER_INVALID,
            "the loss does not depend on what the module makes of the examples",
            fix="Compute the loss from its first argument, without detaching it.",
        )


def _as_doubles(examples: Examples) -> list[Tensor]:
    tensors = (examples,) if isinstance(examples, Tensor) else examples
    if len({len(tensor) for tensor in tensors}) != 1:
        raise BudgetError(
            ErrorCode.PRIVACY_PARAMETER_INVALID,
            "the tensors of the examples do not all hold the same number of them",
            fix="Give tensors whose first dimension counts the same examples.",
        )
    return [t.detach().double() if t.is_floating_point() else t.detach() for t in tensors]


def _parts_that_separate_every_pair(examples: int) -> Iterator[Bool[Tensor, " examples"]]:
    """Subsets such that any two examples are apart in two of them, once with each.

    Two different places differ in a binary digit; the subsets are the places with a 0 and with a 1 in each.
    """
    places = torch.arange(examples)
    for digit in range((examples - 1).bit_length()):
        is_one = (places >> digit) % 2 == 1
        yield ~is_one
        yield is_one


def _with_company(one: Tensor) -> Tensor:
    """An example and a made-up second one: the same values, read backwards where that makes sense."""
    reversible = one.is_floating_point() and one.dim() > 1
    return torch.cat([one, one.flip(-1) if reversible else one])


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


@contextmanager
def _without_dropout(module: nn.Module) -> Iterator[None]:
    """Dropout draws other masks for other batches, which would look like coupling."""
    layers = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.training
    ]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()
