"""Sessions as fixtures; `tests/secure_sums.py` says what can be done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jaxtyping
import numpy as np
import pytest

from fedstyle_secure.secure_aggregation.encoding import SumSettings
from tests.lying_sums import Attack, make_attack
from tests.secure_sums import MODEL, World, make_settings, make_vectors, make_world


@pytest.fixture
def without_type_checks() -> Iterator[None]:
    """For tests that hand over wrong types on purpose, where jaxtyping would object first."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def new_world() -> Callable[..., World]:
    """Make parties who have not exchanged anything yet."""
    return make_world


@pytest.fixture
def world() -> World:
    """Three clients and an aggregator, ready for uploads."""
    return make_world().set_up()


@pytest.fixture
def settings() -> Callable[..., SumSettings]:
    """Make settings for three clients; keyword arguments change them."""
    return make_settings


@pytest.fixture
def vectors() -> Callable[..., dict[str, np.ndarray]]:
    """Make a random vector within the limit for each name."""
    return make_vectors


@pytest.fixture
def model_hash() -> bytes:
    """The model hash that uploads of `World.upload` carry."""
    return MODEL


@pytest.fixture
def attack() -> Attack:
    """A sum that awaits its answer, and an aggregator that lies about it."""
    return make_attack()
