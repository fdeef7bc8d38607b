"""What noise sources must never do: repeat themselves, follow a seed, or show the sum in the low bits."""

from __future__ import annotations

import copy
import math
import pickle
import random
import subprocess
import sys
import threading

import mpmath
import numpy as np
import pytest
import torch
from scipy.special import ndtri

from fedstyle_secure.errors import BudgetError, ErrorCode
from fedstyle_secure.privacy.noise import NoiseSource, NoNoise, SystemNoise, add_noise

_FORK = """
import os, numpy as np
from fedstyle_secure.privacy.noise import SystemNoise
noise = SystemNoise()
noise.gaussian(8, standard_deviation=1.0)
reader, writer = os.pipe()
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        os.write(writer, noise.gaussian(8, standard_deviation=1.0).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    children.append(os.read(reader, 64))
parent = noise.gaussian(8, standard_deviation=1.0).tobytes()
assert len({parent, *children}) == 3, "forked processes drew the same noise"
print("all different")
"""


def test_two_sources_and_two_draws_differ() -> None:
    first, second = SystemNoise(), SystemNoise()
    draws = [source.gaussian(64, standard_deviation=1.0) for source in (first, first, second)]
    values = np.concatenate(draws)
    assert len(np.unique(values)) == 192


def test_experiment_seeds_do_not_reach_the_noise() -> None:
    def draw() -> np.ndarray:
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        return SystemNoise().gaussian(64, standard_deviation=1.0)

    assert not np.isin(draw(), draw()).any()


def test_drawing_leaves_global_generators_alone() -> None:
    before = (torch.get_rng_state().clone(), np.random.get_state()[1].copy(), random.getstate())
    SystemNoise().gaussian(1000, standard_deviation=1.0)
    after = (torch.get_rng_state(), np.random.get_state()[1], random.getstate())
    assert torch.equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    assert before[2] == after[2]


def test_forked_processes_do_not_repeat_the_parent() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _FORK], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.stdout.strip() == "all different", ran.stderr


@pytest.mark.parametrize("twice", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_source_cannot_exist_twice(twice: object) -> None:
    with pytest.raises(TypeError, match="exists twice"):
        twice(SystemNoise())  # type: ignore[operator]


def test_threads_sharing_a_source_draw_different_noise() -> None:
    noise, draws = SystemNoise(), []

    def draw() -> None:
        draws.append(noise.gaussian(20_000, standard_deviation=1.0))

    threads = [threading.Thread(target=draw) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(np.unique(np.concatenate(draws))) == 120_000


def test_nothing_secret_in_the_representation() -> None:
    assert repr(SystemNoise()) == "SystemNoise()"


def test_no_noise_is_zero_and_says_that_it_is_not_private() -> None:
    assert not NoNoise.private
    assert SystemNoise.private
    assert not NoNoise().gaussian(5, standard_deviation=1.0).any()
    values = np.array([0.1, -math.pi, 1e-9])
    assert np.array_equal(add_noise(values, standard_deviation=3.0, noise=NoNoise()), values)


@pytest.mark.parametrize("source", [SystemNoise(), NoNoise()])
@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_a_spread_without_guarantee_is_refused(source: NoiseSource, bad: float) -> None:
    with pytest.raises(BudgetError) as error:
        source.gaussian(3, standard_deviation=bad)
    assert error.value.code is ErrorCode.PRIVACY_PARAMETER_INVALID


def test_sizes() -> None:
    noise = SystemNoise()
    assert noise.gaussian(0, standard_deviation=1.0).shape == (0,)
    assert noise.gaussian(7, standard_deviation=1.0).dtype == np.float64
    with pytest.raises(BudgetError):
        noise.gaussian(-1, standard_deviation=1.0)


@pytest.mark.parametrize("standard_deviation", [1e-6, 0.37, 1.0, 4.25, 3e4])
def test_releases_lie_on_a_grid_that_the_sum_does_not_choose(standard_deviation: float) -> None:
    grid = 2.0 ** (math.floor(math.log2(standard_deviation)) - 8)
    for scale in (0.0, 1e-9, 0.1, 700.0):
        values = np.full(500, scale * standard_deviation / 3)
        released = add_noise(values, standard_deviation=standard_deviation, noise=SystemNoise())
        assert np.array_equal(released, np.rint(released / grid) * grid)
        assert grid <= standard_deviation / 256


def test_zero_has_one_sign_only() -> None:
    class _Tiny(NoiseSource):
        private = True

        def gaussian(self, size: int, *, standard_deviation: float) -> np.ndarray:
            return np.full(size, -1e-9 * standard_deviation)

    released = add_noise(np.zeros(4), standard_deviation=1.0, noise=_Tiny())
    assert not np.signbit(released).any()


def test_adding_noise_leaves_the_sum_as_it_was() -> None:
    values = np.arange(5.0)
    add_noise(values, standard_deviation=1.0, noise=SystemNoise())
    assert np.array_equal(values, np.arange(5.0))


def test_the_inverse_normal_is_as_precise_as_the_module_says() -> None:
    # 2^-43 standard deviations are allowed for the inverse *and* an addition of up to 2^-44.
    rng = np.random.default_rng(0)
    steps = [int(2**bits) for bits in rng.uniform(0, 63, 300)]
    worst = 0.0
    with mpmath.workdps(60):
        for k in steps:
            drawn = float(ndtri((float(k) + 0.5) * 2.0**-64))
            exact = mpmath.mpf(drawn)
            probability = (mpmath.mpf(k) + mpmath.mpf(1) / 2) / mpmath.mpf(2) ** 64
            for _ in range(3):
                exact -= (mpmath.ncdf(exact) - probability) / mpmath.npdf(exact)
            worst = max(worst, abs(float(exact - mpmath.mpf(drawn))))
    assert worst < 2.0**-44
