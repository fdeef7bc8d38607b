"""How long the privacy layer takes. Run with `pytest tests/benchmarks --benchmark-only`."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedstyle_secure.privacy import accounting
from fedstyle_secure.privacy.accounting import GaussianEvent, PoissonGaussianEvent, epsilon_spent
from fedstyle_secure.privacy.noise import SystemNoise
from fedstyle_secure.privacy.plan import BudgetPlan, PlannedRelease, plan_budget
from fedstyle_secure.privacy.release import ClippedSum, noisy_sum_and_count, release_sum
from fedstyle_secure.privacy.training import PerExampleGradient

SIZE, WORKS = 64, 20


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE, SIZE, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.linear(x), dim=-1)


ANCHORS = functional.normalize(torch.randn(10, SIZE, dtype=torch.float64), dim=1)


def _loss(outputs: Tensor) -> Tensor:
    return -torch.log_softmax(outputs @ ANCHORS.T / 0.1, dim=1)[:, 0]


def _plan() -> BudgetPlan:
    return plan_budget(
        epsilon=8.0,
        delta=1e-5,
        neighbouring="add_or_remove_one",
        releases={
            "centre": PlannedRelease(0.1, 1),
            "train": PlannedRelease(0.3, 40),
            "represent": PlannedRelease(0.6, 1),
        },
    )


def test_plain_step(benchmark: Any) -> None:
    """What the private step is compared with: gradient of the mean loss, no clipping, no noise."""
    head, works = _Head(), torch.randn(WORKS, SIZE)
    anchors = ANCHORS.float()

    def step() -> None:
        head.zero_grad()
        torch.autograd.backward(-torch.log_softmax(head(works) @ anchors.T / 0.1, dim=1)[:, 0].mean())

    benchmark(step)


def test_clipped_gradient_sum(benchmark: Any) -> None:
    gradient, works = PerExampleGradient(_Head(), clip_norm_l2=1.0), torch.randn(WORKS, SIZE)
    benchmark(gradient.clipped_sum, _loss, works)


def test_clipped_gradient_sum_with_a_new_loss_every_time(benchmark: Any) -> None:
    gradient, works = PerExampleGradient(_Head(), clip_norm_l2=1.0), torch.randn(WORKS, SIZE)
    benchmark(lambda: gradient.clipped_sum(functools.partial(_loss), works))


def test_wrapping_a_module(benchmark: Any) -> None:
    head = _Head()
    benchmark(lambda: PerExampleGradient(head, clip_norm_l2=1.0))


def test_releasing_a_gradient(benchmark: Any) -> None:
    clipped, noise = ClippedSum(np.zeros(SIZE * SIZE), 1.0), SystemNoise()
    benchmark(lambda: release_sum(clipped, noise_multiplier=7.0, noise=noise))


def test_releasing_a_sum_and_count(benchmark: Any) -> None:
    rows, noise = np.random.default_rng(0).standard_normal((WORKS, SIZE)), SystemNoise()
    benchmark(lambda: noisy_sum_and_count(rows, clip_norm_l2=1.0, noise_multiplier=2.0, noise=noise))


def test_drawing_59_thousand_values(benchmark: Any) -> None:
    noise = SystemNoise()
    benchmark(lambda: noise.gaussian(59_000, standard_deviation=1.0))


def test_planning(benchmark: Any) -> None:
    benchmark(_plan)


def test_epsilon_after_a_round(benchmark: Any) -> None:
    plan = _plan()
    benchmark(lambda: plan.epsilon_after({"centre": 1, "train": 23}))


def test_the_guarantee_in_words(benchmark: Any) -> None:
    benchmark(_plan().guarantee)


def test_epsilon_with_sampling(benchmark: Any) -> None:
    def account() -> float:
        accounting._epsilon_by_pld.cache_clear()
        return epsilon_spent([PoissonGaussianEvent(0.2, 1.82, 50), GaussianEvent(1.0)], delta=1e-5)

    benchmark.pedantic(account, rounds=3)
