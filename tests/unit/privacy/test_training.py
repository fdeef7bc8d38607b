"""Opacus' clipped sums: right, bounded, hard to use wrongly."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn
from torch.nn import functional

from fedstyle_secure.errors import BudgetError, ErrorCode
from fedstyle_secure.privacy.noise import NoNoise, SystemNoise
from fedstyle_secure.privacy.release import release_sum
from fedstyle_secure.privacy.training import PerExampleGradient, clipped_gradient_sum

SIZE = 8


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE, SIZE, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.linear(x), dim=-1)


class _Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(4, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, SIZE)
        )
        self.norm = nn.LayerNorm(SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layers(x))


class _Tied(nn.Module):
    """One layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.tanh(self.linear(x)))


class _FrozenPart(nn.Module):
    """A frozen layer before, a layer that the output ignores beside."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(SIZE, SIZE).requires_grad_(False)
        self.head = nn.Linear(SIZE, SIZE)
        self.ignored = nn.Linear(SIZE, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.ignored(x)
        return self.head(self.frozen(x).tanh())


class _PastItsLayer(nn.Module):
    """Uses a layer's weight without its layer, where hooks do not see it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) @ self.linear.weight


class _ViewsAsExamples(nn.Module):
    """Folds the views of an example into the batch, so that hooks see each view as an example."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.reshape(-1, SIZE)).reshape(x.shape)


def _squares(outputs: Tensor) -> Tensor:
    return (outputs - 1).pow(2).flatten(1).sum(dim=1)


def _examples(count: int, *, scale: float = 1.0, image: bool = False, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, 8, 8) if image else (count, SIZE)
    return scale * torch.randn(shape, generator=generator)


def _module(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    return kind()


def _by_hand(
    module: nn.Module, loss: Callable[[Tensor], Tensor], examples: Tensor, clip: float
) -> np.ndarray:
    """A loop over the examples, with torch alone."""
    module = copy.deepcopy(module).double()
    parameters = [p for p in module.parameters() if p.requires_grad]
    total = np.zeros(sum(p.numel() for p in parameters))
    for example in examples.double():
        gradients = torch.autograd.grad(loss(module(example[None]))[0], parameters, allow_unused=True)
        row = torch.cat(
            [
                torch.zeros_like(p).ravel() if g is None else g.ravel()
                for p, g in zip(parameters, gradients, strict=True)
            ]
        ).numpy()
        total += row * min(1.0, clip / np.linalg.norm(row))
    return total


@pytest.mark.parametrize(
    ("kind", "image"), [(_Head, False), (_Convolutional, True), (_Tied, False), (_FrozenPart, False)]
)
@pytest.mark.parametrize("clip", [0.1, 1.0, 1000.0])
def test_opacus_gives_the_sum_that_a_loop_gives(
    kind: Callable[[], nn.Module], image: bool, clip: float
) -> None:
    module, examples = _module(kind), _examples(6, image=image)
    result = clipped_gradient_sum(module, _squares, examples, clip_norm_l2=clip)
    np.testing.assert_allclose(
        result.values, _by_hand(module, _squares, examples, clip), rtol=2e-5, atol=1e-7 * clip
    )
    assert result.values.dtype == np.float64


def test_the_result_knows_its_sensitivity_and_not_its_size() -> None:
    result = clipped_gradient_sum(_module(_Head), _squares, _examples(5), clip_norm_l2=0.5)
    assert [field.name for field in dataclasses.fields(result)] == ["values", "clip_norm_l2"]
    assert (result.sensitivity_l2("add_or_remove_one"), result.sensitivity_l2("replace_one")) == (0.5, 1.0)


def test_adding_an_example_changes_no_public_constant() -> None:
    gradient = PerExampleGradient(_module(_Head), clip_norm_l2=0.5)
    five, six = (gradient.clipped_sum(_squares, _examples(6)[:count]) for count in (5, 6))
    assert five.values.shape == six.values.shape
    assert five.clip_norm_l2 == six.clip_norm_l2
    # Had anything been divided by the number of examples, the other five would have moved as well.
    assert 0 < np.linalg.norm(six.values - five.values) <= 0.5


def test_no_examples_give_zeros() -> None:
    result = clipped_gradient_sum(_module(_Head), _squares, _examples(0), clip_norm_l2=1.0)
    assert result.values.shape == (SIZE * SIZE,)
    assert not result.values.any()


def test_one_example_is_clipped_to_the_clip() -> None:
    result = clipped_gradient_sum(_module(_Head), _squares, _examples(1), clip_norm_l2=0.01)
    assert np.linalg.norm(result.values) == pytest.approx(0.01, rel=1e-3)
    assert np.linalg.norm(result.values) <= 0.01


def test_the_module_is_left_as_it_was_and_followed_when_it_changes() -> None:
    module = _module(_Head)
    gradient = PerExampleGradient(module, clip_norm_l2=1.0)
    before = gradient.clipped_sum(_squares, _examples(4)).values
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not module._forward_hooks
    assert module.linear.weight.dtype == torch.float32
    with torch.no_grad():
        module.linear.weight.copy_(torch.eye(SIZE))
    after = gradient.clipped_sum(_squares, _examples(4)).values
    np.testing.assert_allclose(after, _by_hand(module, _squares, _examples(4), 1.0), rtol=2e-5, atol=1e-7)
    assert not np.allclose(before, after)


def test_results_of_earlier_calls_stay() -> None:
    gradient = PerExampleGradient(_module(_Head), clip_norm_l2=1.0)
    first = gradient.clipped_sum(_squares, _examples(4))
    kept = first.values.copy()
    gradient.clipped_sum(_squares, _examples(9, seed=5))
    assert np.array_equal(first.values, kept)


def test_a_module_may_be_wrapped_again_and_again() -> None:
    module = _module(_Head)
    expected = clipped_gradient_sum(module, _squares, _examples(4), clip_norm_l2=1.0).values
    wrapped = GradSampleModule(module)
    wrapped(_examples(3))
    for given in (module, wrapped, module):
        again = clipped_gradient_sum(given, _squares, _examples(4), clip_norm_l2=1.0).values
        np.testing.assert_allclose(again, expected)
    wrapped.to_standard_module()
    again = clipped_gradient_sum(module, _squares, _examples(4), clip_norm_l2=1.0).values
    np.testing.assert_allclose(again, expected)


def test_after_a_loss_that_failed_the_next_one_is_right() -> None:
    module = _module(_Tied)
    gradient = PerExampleGradient(module, clip_norm_l2=1.0)

    def failing(outputs: Tensor) -> Tensor:
        raise ArithmeticError

    for _ in range(2):
        with pytest.raises(ArithmeticError):
            gradient.clipped_sum(failing, _examples(3))
    result = gradient.clipped_sum(_squares, _examples(4)).values
    np.testing.assert_allclose(result, _by_hand(module, _squares, _examples(4), 1.0), rtol=2e-5, atol=1e-7)


def test_an_ignored_layer_leaves_nothing_behind() -> None:
    gradient = PerExampleGradient(_module(_FrozenPart), clip_norm_l2=1.0)
    once = gradient.clipped_sum(_squares, _examples(4)).values
    for _ in range(3):
        assert np.array_equal(gradient.clipped_sum(_squares, _examples(4)).values, once)
    assert not any("activations" in layer.__dict__ for layer in gradient._copy.modules())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_example_contributes_nothing_and_is_counted(bad: float) -> None:
    module, examples = _module(_Head), _examples(5)
    spoiled = examples.clone()
    spoiled[2, 3] = bad
    gradient = PerExampleGradient(module, clip_norm_l2=1.0)
    result = gradient.clipped_sum(_squares, spoiled).values
    others = gradient.clipped_sum(_squares, examples[[0, 1, 3, 4]]).values
    assert gradient.nonfinite_examples == 1
    np.testing.assert_allclose(result, others, atol=1e-12)


def test_gradients_that_overflow_stay_bounded() -> None:
    module = _module(_Tied)
    for scale in (1e30, 1e150, 1e200, 1e300):
        result = clipped_gradient_sum(
            module, _squares, _examples(3).double() * scale, clip_norm_l2=1.0
        ).values
        assert np.isfinite(result).all()
        assert np.linalg.norm(result) <= 3.0


def test_labels_travel_with_their_examples() -> None:
    module, labels = _module(_Head), torch.tensor([0, 3, 1, 7])

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, labels, reduction="none")

    result = clipped_gradient_sum(module, loss, (_examples(4), labels), clip_norm_l2=1.0).values
    parts = [
        clipped_gradient_sum(
            module, loss, (_examples(4)[k : k + 1], labels[k : k + 1]), clip_norm_l2=1.0
        ).values
        for k in range(4)
    ]
    np.testing.assert_allclose(result, np.sum(parts, axis=0), atol=1e-9)


def test_views_of_one_example_are_one_example() -> None:
    module = _module(_Head)
    views = _examples(12).reshape(4, 3, SIZE)

    def loss(outputs: Tensor) -> Tensor:
        return (outputs - 1).pow(2).sum(dim=2).mean(dim=1)

    gradient = PerExampleGradient(module, clip_norm_l2=0.05)
    everything, without_one = gradient.clipped_sum(loss, views), gradient.clipped_sum(loss, views[1:])
    assert np.linalg.norm(everything.values - without_one.values) <= 0.05


@pytest.mark.parametrize("count", [1, 4])
def test_a_module_that_takes_views_for_examples_is_refused(count: int) -> None:
    views = _examples(3 * count).reshape(count, 3, SIZE)
    with pytest.raises(BudgetError, match="first dimension") as error:
        clipped_gradient_sum(_module(_ViewsAsExamples), _squares, views, clip_norm_l2=1.0)
    assert error.value.code is ErrorCode.MODULE_NOT_SUPPORTED


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(SIZE),
        nn.BatchNorm1d(SIZE, affine=False),
        nn.BatchNorm1d(SIZE).requires_grad_(False),
        nn.SyncBatchNorm(SIZE),
    ],
)
def test_batch_normalisation_is_refused_with_a_way_out(layer: nn.Module) -> None:
    with pytest.raises(BudgetError, match="BatchNorm") as error:
        PerExampleGradient(nn.Sequential(nn.Linear(SIZE, SIZE), layer), clip_norm_l2=1.0)
    assert error.value.code is ErrorCode.MODULE_NOT_SUPPORTED
    assert "GroupNorm" in error.value.fix


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(SIZE, SIZE),
        nn.Linear(SIZE, SIZE).requires_grad_(False),
        nn.Sequential(nn.InstanceNorm1d(3, affine=True, track_running_stats=True)),
    ],
)
def test_other_modules_without_per_example_gradients_are_refused(module: nn.Module) -> None:
    with pytest.raises(BudgetError) as error:
        PerExampleGradient(module, clip_norm_l2=1.0)
    assert error.value.code is ErrorCode.MODULE_NOT_SUPPORTED


def test_a_parameter_used_past_its_layer_is_refused() -> None:
    with pytest.raises(BudgetError, match="do not add up") as error:
        clipped_gradient_sum(_module(_PastItsLayer), _squares, _examples(4), clip_norm_l2=1.0)
    assert error.value.code is ErrorCode.MODULE_NOT_SUPPORTED


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_a_clip_without_guarantee_is_refused(bad: float) -> None:
    with pytest.raises(BudgetError) as error:
        PerExampleGradient(_module(_Head), clip_norm_l2=bad)
    assert error.value.code is ErrorCode.PRIVACY_PARAMETER_INVALID


def test_tensors_of_different_lengths_are_refused() -> None:
    with pytest.raises(BudgetError, match="same number"):
        clipped_gradient_sum(
            _module(_Head), lambda o, _: _squares(o), (_examples(4), torch.zeros(3)), clip_norm_l2=1.0
        )


def test_the_release_of_a_gradient_is_noised_anew_under_the_same_seeds() -> None:
    def release() -> np.ndarray:
        torch.manual_seed(0)
        np.random.seed(0)
        clipped = clipped_gradient_sum(_module(_Head), _squares, _examples(5), clip_norm_l2=1.0)
        return release_sum(clipped, noise_multiplier=4.0, noise=SystemNoise())

    one, other = release(), release()
    assert not np.isclose(one, other, atol=1e-3).all()


def test_without_noise_the_release_is_reproducible() -> None:
    def release() -> np.ndarray:
        clipped = clipped_gradient_sum(_module(_Head), _squares, _examples(5), clip_norm_l2=1.0)
        return release_sum(clipped, noise_multiplier=4.0, noise=NoNoise())

    assert np.array_equal(release(), release())
