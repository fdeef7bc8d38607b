"""The loss of one artwork against released anchors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from fedstyle_secure.style.loss import anchor_loss


def _case(artworks: int = 6, others: int = 3, size: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "embeddings": F.normalize(draw(artworks, size), dim=1),
        "own_anchor": draw(size),
        "other_anchors": draw(others, size),
        "server_representation": draw(size),
    }


def test_a_hand_worked_value() -> None:
    loss = anchor_loss(
        torch.tensor([[1.0, 0.0]]),
        own_anchor=torch.tensor([2.0, 0.0]),  # cosine 1
        other_anchors=torch.tensor([[0.0, 3.0], [-1.0, 0.0]]),  # cosines 0 and -1
        server_representation=torch.tensor([3.0, 4.0]),  # cosine 0.6
        temperature=0.5,
        alignment_weight=0.25,
    )
    contrast = -math.log(math.exp(2) / (math.exp(2) + math.exp(0) + math.exp(-2)))
    assert loss.tolist() == pytest.approx([contrast + 0.25 * 0.4])


def test_removing_one_artwork_leaves_the_losses_and_gradients_of_the_others_exactly_as_they_were() -> None:
    case = _case()
    embeddings = case.pop("embeddings").requires_grad_()
    settings = {**case, "temperature": 0.1, "alignment_weight": 0.1}
    everybody = anchor_loss(embeddings, **settings)
    all_gradients = torch.autograd.grad(everybody.sum(), embeddings)[0]
    kept = [0, 1, 3, 4, 5]
    remaining = embeddings.detach()[kept].requires_grad_()
    without_one = anchor_loss(remaining, **settings)
    assert torch.equal(without_one, everybody[kept])
    assert torch.equal(torch.autograd.grad(without_one.sum(), remaining)[0], all_gradients[kept])


def test_each_loss_depends_on_its_own_artwork_only() -> None:
    case = _case()
    embeddings = case.pop("embeddings")
    jacobian = torch.autograd.functional.jacobian(
        lambda rows: anchor_loss(rows, **case, temperature=0.1, alignment_weight=0.1), embeddings
    )
    influence = jacobian.norm(dim=2)
    assert torch.equal(influence, torch.diag(torch.diagonal(influence)))
    assert (torch.diagonal(influence) > 0).all()


def test_gradients_are_right() -> None:
    case = _case()
    embeddings = case.pop("embeddings").requires_grad_()
    assert torch.autograd.gradcheck(
        lambda rows: anchor_loss(rows, **case, temperature=0.3, alignment_weight=0.5), (embeddings,)
    )


def test_no_gradient_flows_into_released_things() -> None:
    case = _case()
    for name in ("own_anchor", "other_anchors", "server_representation", "embeddings"):
        case[name].requires_grad_()
    anchor_loss(**case, temperature=0.1, alignment_weight=0.1).sum().backward()
    assert case["embeddings"].grad is not None
    assert all(case[name].grad is None for name in ("own_anchor", "other_anchors", "server_representation"))


def test_moving_towards_the_own_anchor_and_away_from_others_lowers_the_loss() -> None:
    anchors = torch.eye(3, dtype=torch.float64)
    rows = torch.stack([anchors[0], anchors[0] + anchors[1], anchors[1]])
    losses = anchor_loss(
        rows,
        own_anchor=anchors[0],
        other_anchors=anchors[1:],
        server_representation=anchors[0],
        temperature=0.1,
        alignment_weight=0.1,
    )
    assert losses[0] < losses[1] < losses[2]


def test_an_artist_alone_has_nothing_to_contrast_with() -> None:
    case = _case(others=0)
    losses = anchor_loss(**case, temperature=0.1, alignment_weight=0.0)
    assert torch.equal(losses, torch.zeros(6, dtype=torch.float64))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"alignment_weight": -0.1}, "alignment_weight"),
        ({"own_anchor": torch.zeros(4)}, "dimensions"),
        ({"other_anchors": torch.zeros(2, 4)}, "dimensions"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(change: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        anchor_loss(**{**_case(), "temperature": 0.1, "alignment_weight": 0.1, **change})
