"""One example moves what is released by no more than its clip, whatever the examples are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn
from torch.nn import functional

from fedstyle_secure.privacy.accounting import GaussianEvent, epsilon_spent
from fedstyle_secure.privacy.gaussian_dp import gaussian_delta, gaussian_epsilon, gaussian_mu
from fedstyle_secure.privacy.noise import NoNoise
from fedstyle_secure.privacy.plan import PlannedRelease, plan_budget
from fedstyle_secure.privacy.release import clip_rows, noisy_sum, noisy_sum_and_count
from fedstyle_secure.privacy.training import PerExampleGradient

SIZE = 6
CLIPS = st.floats(1e-3, 1e3)
ANY_VALUE = st.floats(allow_nan=True, allow_infinity=True, width=64)


def _rows(values: Any = ANY_VALUE) -> Any:
    shape = st.tuples(st.integers(1, 12), st.just(SIZE))
    return shape.flatmap(lambda s: hnp.arrays(np.float64, s, elements=values))


@settings(max_examples=300, deadline=None)
@given(rows=_rows(), clip=CLIPS)
def test_no_row_is_longer_than_the_clip(rows: np.ndarray, clip: float) -> None:
    clipped = clip_rows(rows, clip_norm_l2=clip)
    assert np.isfinite(clipped).all()
    assert (np.linalg.norm(clipped, axis=1) <= clip).all()


@settings(max_examples=300, deadline=None)
@given(rows=_rows(), other=hnp.arrays(np.float64, (1, SIZE), elements=ANY_VALUE), clip=CLIPS, data=st.data())
def test_deleting_a_row_moves_a_sum_by_at_most_the_clip_and_replacing_by_twice(
    rows: np.ndarray, other: np.ndarray, clip: float, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    deleted = np.delete(rows, place, axis=0)
    for release in (noisy_sum, noisy_sum_and_count):

        def total(of: np.ndarray, release: Any = release) -> np.ndarray:
            return release(of, clip_norm_l2=clip, noise_multiplier=1.0, noise=NoNoise())

        assert np.linalg.norm(total(rows) - total(deleted)) <= clip
        assert np.linalg.norm(total(rows) - total(np.vstack([deleted, other]))) <= 2 * clip


class _Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.linear = nn.Linear(4 * (SIZE - 2), SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.relu(self.norm(self.convolution(x[:, None, :]))).flatten(1))


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.linear(x))


def _modules() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "linear": nn.Linear(SIZE, SIZE, bias=False),
        "deep": nn.Sequential(nn.Linear(SIZE, 9), nn.GELU(), nn.LayerNorm(9), nn.Linear(9, SIZE)),
        "convolutional": _Convolutional(),
        "tied": _Twice(),
    }


MODULES = _modules()


def _against_anchors(outputs: Tensor) -> Tensor:
    anchors = torch.eye(SIZE, dtype=torch.float64)
    return -torch.log_softmax(functional.normalize(outputs, dim=1) @ anchors / 0.1, dim=1)[:, 0]


def _regression(outputs: Tensor) -> Tensor:
    return (outputs - 3).pow(2).sum(dim=1)


@pytest.mark.parametrize("loss", [_regression, _against_anchors])
@pytest.mark.parametrize("name", MODULES)
@settings(max_examples=40, deadline=None)
@given(
    rows=_rows(st.floats(-10, 10)),
    scale=st.sampled_from([1e-6, 1.0, 1e3, 1e12, 1e160]),
    clip=st.sampled_from([1e-2, 1.0, 50.0]),
    data=st.data(),
)
def test_deleting_an_example_moves_the_clipped_gradient_sum_by_at_most_the_clip(
    name: str, loss: Any, rows: np.ndarray, scale: float, clip: float, data: st.DataObject
) -> None:
    examples = torch.from_numpy(rows) * scale
    place = data.draw(st.integers(0, len(examples) - 1))
    kept = [k for k in range(len(examples)) if k != place]
    gradient = PerExampleGradient(MODULES[name], clip_norm_l2=clip)
    everything, others = gradient.clipped_sum(loss, examples), gradient.clipped_sum(loss, examples[kept])
    alone = gradient.clipped_sum(loss, examples[[place]])
    assert np.linalg.norm(everything.values - others.values) <= clip
    assert np.linalg.norm(alone.values) <= clip
    assert np.linalg.norm(everything.values - alone.values) <= max(1, len(kept)) * clip


@settings(max_examples=200, deadline=None)
@given(mu=st.floats(1e-4, 20), delta=st.floats(1e-12, 0.1), more=st.floats(1.001, 3))
def test_more_mu_costs_more(mu: float, delta: float, more: float) -> None:
    epsilon = gaussian_epsilon(mu, delta)
    assert gaussian_delta(mu, epsilon) <= delta
    assert gaussian_epsilon(mu * more, delta) >= epsilon


@settings(max_examples=50, deadline=None)
@given(
    epsilon=st.floats(0.05, 50),
    delta=st.floats(1e-10, 1e-2),
    neighbouring=st.sampled_from(["add_or_remove_one", "replace_one"]),
    parts=st.lists(st.tuples(st.floats(0.01, 1), st.integers(1, 200)), min_size=1, max_size=5),
)
def test_every_plan_spends_what_it_may(
    epsilon: float, delta: float, neighbouring: Any, parts: list[tuple[float, int]]
) -> None:
    total = sum(share for share, _ in parts)
    releases = {str(k): PlannedRelease(share / total, count) for k, (share, count) in enumerate(parts)}
    plan = plan_budget(epsilon=epsilon, delta=delta, neighbouring=neighbouring, releases=releases)
    events = [GaussianEvent(plan.noise_multiplier(name), planned.count) for name, planned in releases.items()]
    spent = epsilon_spent(events, delta=delta, neighbouring=neighbouring)
    assert 0.999 * epsilon <= spent <= epsilon
    assert gaussian_mu(epsilon, delta) == plan.mu
