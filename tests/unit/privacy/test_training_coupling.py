"""Losses that couple a batch are refused; losses against released constants are not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedstyle_secure.errors import BudgetError, ErrorCode
from fedstyle_secure.privacy.training import PerExampleGradient, clipped_gradient_sum

SIZE = 8


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE, SIZE, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.linear(x), dim=-1)


def _squares(outputs: Tensor) -> Tensor:
    return (outputs - 1).pow(2).flatten(1).sum(dim=1)


def _examples(count: int, *, seed: int = 0) -> Tensor:
    return torch.randn((count, SIZE), generator=torch.Generator().manual_seed(seed))


def _module(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    return kind()


# What couples a batch, as people write it.


def _supervised_contrast(outputs: Tensor, labels: Tensor) -> Tensor:
    similarity = outputs @ outputs.T / 0.1
    others = ~torch.eye(len(outputs), dtype=torch.bool)
    log_share = similarity - torch.logsumexp(similarity.masked_fill(~others, -1e9), dim=1, keepdim=True)
    same = (labels[:, None] == labels[None, :]) & others
    return -(log_share * same).sum(dim=1) / same.sum(dim=1).clamp(min=1)


def _info_nce(outputs: Tensor, other_view: Tensor) -> Tensor:
    return functional.cross_entropy(
        outputs @ functional.normalize(other_view, dim=1).T / 0.1,
        torch.arange(len(outputs)),
        reduction="none",
    )


def _centred_on_the_batch(outputs: Tensor, _: Tensor) -> Tensor:
    return (outputs - outputs.mean(dim=0)).pow(2).sum(dim=1) + outputs[:, 0]


def _centred_on_the_detached_batch(outputs: Tensor, _: Tensor) -> Tensor:
    return (outputs * outputs.mean(dim=0).detach()).sum(dim=1)


def _divided_by_the_batch_size(outputs: Tensor, _: Tensor) -> Tensor:
    return _squares(outputs) / len(outputs)


def _weighted_by_rank(outputs: Tensor, _: Tensor) -> Tensor:
    return _squares(outputs) * outputs[:, 0].argsort().argsort().double()


def _with_its_neighbour(outputs: Tensor, _: Tensor) -> Tensor:
    return (outputs * outputs.roll(1, dims=0)).sum(dim=1)


def _centred_within_its_label(outputs: Tensor, labels: Tensor) -> Tensor:
    same = (labels[:, None] == labels[None, :]).double()
    return (outputs - same @ outputs / same.sum(dim=1, keepdim=True)).pow(2).sum(dim=1) + outputs[:, 0]


COUPLED = [
    _supervised_contrast,
    _info_nce,
    _centred_on_the_batch,
    _centred_on_the_detached_batch,
    _divided_by_the_batch_size,
    _weighted_by_rank,
    _with_its_neighbour,
]


@pytest.mark.parametrize(
    ("loss", "count"),
    # Of two examples each has one other to be compared with: supervised contrast is constant then.
    [
        (loss, count)
        for loss in COUPLED
        for count in (2, 3, 8, 20)
        if (loss, count) != (_supervised_contrast, 2)
    ],
)
def test_losses_that_couple_the_batch_are_refused(loss: Callable[..., Tensor], count: int) -> None:
    other = _examples(count, seed=3) if loss is _info_nce else torch.arange(count) % 2
    with pytest.raises(BudgetError) as error:
        clipped_gradient_sum(_module(_Head), loss, (_examples(count), other), clip_norm_l2=1.0)
    assert error.value.code is ErrorCode.LOSS_COUPLES_EXAMPLES
    assert "released" in error.value.fix


@pytest.mark.parametrize("pair", [(0, 1), (3, 4), (3, 5), (1, 2), (0, 8), (7, 8), (2, 6)])
def test_coupling_of_a_single_pair_is_found_wherever_it_is(pair: tuple[int, int]) -> None:
    labels = torch.arange(9)
    labels[pair[1]] = labels[pair[0]]
    with pytest.raises(BudgetError) as error:
        clipped_gradient_sum(
            _module(_Head), _centred_within_its_label, (_examples(9), labels), clip_norm_l2=1.0
        )
    assert error.value.code is ErrorCode.LOSS_COUPLES_EXAMPLES
    nobody_shares = (_examples(9), torch.arange(9))
    clipped_gradient_sum(_module(_Head), _centred_within_its_label, nobody_shares, clip_norm_l2=1.0)


@pytest.mark.parametrize(("follower", "followed"), [(0, 1), (1, 0), (0, 8), (8, 0), (3, 5), (5, 3)])
def test_one_example_that_follows_another_is_found(follower: int, followed: int) -> None:
    places = torch.arange(9)

    def loss(outputs: Tensor, places: Tensor) -> Tensor:
        aim = outputs[places == followed].detach().sum(dim=0)
        return _squares(outputs) + (places == follower) * (outputs @ aim)

    with pytest.raises(BudgetError):
        clipped_gradient_sum(_module(_Head), loss, (_examples(9), places), clip_norm_l2=1.0)


@pytest.mark.parametrize("loss", [_centred_on_the_batch, _divided_by_the_batch_size])
def test_coupling_is_found_even_when_a_single_example_is_at_hand(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(BudgetError):
        clipped_gradient_sum(_module(_Head), loss, (_examples(1), torch.zeros(1)), clip_norm_l2=1.0)


def test_a_new_loss_is_checked_although_an_older_one_was_fine() -> None:
    gradient = PerExampleGradient(_module(_Head), clip_norm_l2=1.0)
    examples = (_examples(6), torch.zeros(6))
    gradient.clipped_sum(lambda outputs, _: _squares(outputs), examples)
    with pytest.raises(BudgetError):
        gradient.clipped_sum(_centred_on_the_batch, examples)
    with pytest.raises(BudgetError):  # and stays refused
        gradient.clipped_sum(_centred_on_the_batch, examples)


def test_a_loss_seen_with_one_example_is_checked_again_with_more() -> None:
    calls = 0

    def loss(outputs: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return _squares(outputs)

    gradient = PerExampleGradient(_module(_Head), clip_norm_l2=1.0)
    per_call = []
    for count in (1, 1, 5, 5, 5):
        before = calls
        gradient.clipped_sum(loss, _examples(count))
        per_call.append(calls - before)
    assert per_call[0] == per_call[1] > 1
    assert per_call[2] > 1
    assert per_call[3:] == [1, 1]


def _anchor_loss(outputs: Tensor, *, own: Tensor, others: Tensor, server: Tensor) -> Tensor:
    """Each example against released anchors, with a pull towards the server's representation."""
    logits = torch.cat([(outputs @ own)[:, None], outputs @ others.T], dim=1) / 0.1
    return -torch.log_softmax(logits, dim=1)[:, 0] + 0.1 * (1 - outputs @ server)


@pytest.mark.parametrize("count", [1, 2, 20])
def test_a_loss_against_released_anchors_is_accepted(count: int) -> None:
    anchors = functional.normalize(_examples(5, seed=9).double(), dim=1)
    loss = partial(_anchor_loss, own=anchors[0], others=anchors[1:], server=anchors.mean(dim=0))
    gradient = PerExampleGradient(_module(_Head), clip_norm_l2=1.0)
    result = gradient.clipped_sum(loss, _examples(count))
    assert 0 < np.linalg.norm(result.values) <= count


def test_a_gradient_that_vanishes_is_no_coupling() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 64, bias=False))
    weight = module[0].weight.detach().double()
    target = functional.normalize(_examples(16).double().reshape(-1)[:64], dim=0)

    def loss(outputs: Tensor) -> Tensor:
        return 1 - functional.normalize(outputs, dim=1) @ target

    # Every output points exactly where its loss wants it. Rounding is all that is left of the gradients, and
    # it is not the same in batches of other sizes.
    scales = torch.linspace(0.1, 1, 21, dtype=torch.float64)[:, None]
    examples = scales * torch.linalg.solve(weight, target)
    result = clipped_gradient_sum(module, loss, examples, clip_norm_l2=1.0)
    assert np.linalg.norm(result.values) < 1e-10


def test_dropout_is_no_coupling_and_still_drops_in_training() -> None:
    module = nn.Sequential(nn.Linear(SIZE, 64), nn.Dropout(0.5), nn.Linear(64, SIZE))
    gradient = PerExampleGradient(module, clip_norm_l2=1.0)
    one, other = (gradient.clipped_sum(_squares, _examples(4)).values for _ in range(2))
    assert not np.allclose(one, other)


@pytest.mark.parametrize(
    "loss", [lambda outputs: _squares(outputs).mean(), lambda outputs: _squares(outputs)[:, None]]
)
def test_a_loss_that_is_not_one_value_for_each_example_is_refused(loss: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(BudgetError, match="one value for each example") as error:
        clipped_gradient_sum(_module(_Head), loss, _examples(4), clip_norm_l2=1.0)
    assert error.value.code is ErrorCode.LOSS_COUPLES_EXAMPLES


def test_a_loss_that_does_not_follow_the_module_is_refused() -> None:
    with pytest.raises(BudgetError, match="does not depend"):
        clipped_gradient_sum(_module(_Head), lambda o: _squares(o).detach(), _examples(4), clip_norm_l2=1.0)
