"""A session of real clients and a real aggregator, at every stage of its set-up."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import jaxtyping
import numpy as np
import pytest

from fedstyle_secure.secure_aggregation.aggregator import SumAggregator
from fedstyle_secure.secure_aggregation.client import SumClient
from fedstyle_secure.secure_aggregation.encoding import Rounding, SumSettings
from fedstyle_secure.secure_aggregation.keys import Identity, Roster
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate
from fedstyle_secure.secure_aggregation.wire import Session

POLICY = b"p" * 32
MODEL = b"m" * 32


@dataclass
class World:
    """All parties of a session, and everything that has passed between them."""

    identities: dict[str, Identity]
    roster: Roster
    session_id: bytes
    rounding: Rounding | None = None
    clients: dict[str, SumClient] = field(init=False)
    aggregator: SumAggregator = field(init=False)
    received_by_aggregator: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        terms = {"roster": self.roster, "session_id": self.session_id, "policy_hash": POLICY}
        self.clients = {
            name: SumClient(identity=i, rounding=self.rounding, **terms)
            for name, i in self.identities.items()
        }
        self.aggregator = SumAggregator(**terms)

    @property
    def session(self) -> Session:
        return Session(self.session_id, POLICY, self.roster)

    def advertise(self) -> dict[str, bytes]:
        return {name: client.advertise() for name, client in self.clients.items()}

    def share(self, advertised: dict[str, bytes]) -> dict[str, bytes]:
        return {name: client.share_key(advertised[name]) for name, client in self.clients.items()}

    def handle(self, stage: str, messages: dict[str, bytes]) -> dict[str, bytes]:
        self.received_by_aggregator += messages.values()
        return self.aggregator.handle(stage, messages)

    def set_up(self) -> World:
        delivered = self.handle("share", self.share(self.handle("advertise", self.advertise())))
        for name, client in self.clients.items():
            client.accept_key(delivered[name])
        return self

    def upload(self, vectors, settings: SumSettings, *, stage="train", round_number=1, model_hash=MODEL):
        return {
            name: client.upload(
                ClippedUpdate(vectors[name]),
                settings=settings,
                stage=stage,
                round_number=round_number,
                model_hash=model_hash,
            )
            for name, client in self.clients.items()
        }


def make_world(names=("ana", "ben", "cem"), *, rounding: Rounding | None = None) -> World:
    identities = {name: Identity.generate(name) for name in names}
    return World(
        identities, Roster([i.public for i in identities.values()]), secrets.token_bytes(16), rounding
    )


def make_settings(length: int = 100, *, value_bits: int = 16, value_limit: float = 1.0, cohort_cap: int = 3):
    return SumSettings(length=length, value_bits=value_bits, value_limit=value_limit, cohort_cap=cohort_cap)


def make_vectors(names, length: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, length) for name in names}


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
