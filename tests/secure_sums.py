"""Sessions of real clients and a real aggregator, in which clients fall silent where a test wants them to."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedstyle_secure.secure_aggregation.aggregator import SumAggregator
from fedstyle_secure.secure_aggregation.client import SumClient
from fedstyle_secure.secure_aggregation.encoding import (
    IntegerSum,
    NearestRounding,
    Rounding,
    SumSettings,
    encode,
)
from fedstyle_secure.secure_aggregation.keys import Identity, Roster
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate
from fedstyle_secure.secure_aggregation.wire import Session

POLICY = b"p" * 32
MODEL = b"m" * 32
ANY_TWO = Quorum(minimum=2, colluding=0)

Silence = Mapping[str, Collection[str]]
Messages = dict[str, bytes]


@dataclass(frozen=True)
class SumRun:
    """What came of one sum.

    Attributes:
        sent: stage -> client -> the message that reached the aggregator.
        answers: stage -> client -> the aggregator's answer.
        opened: client -> the sum that it has opened.
    """

    sent: dict[str, Messages]
    answers: dict[str, Messages]
    opened: dict[str, IntegerSum]

    @property
    def total(self) -> IntegerSum:
        """The sum, which all who opened it have opened alike."""
        first, *others = self.opened.values()
        assert all(np.array_equal(first.values, other.values) for other in others)
        assert all(first.clients == other.clients for other in others)
        return first


@dataclass
class World:
    """All parties of a session.

        world = World.of("abcde", quorum=Quorum(minimum=3, colluding=0)).set_up(silent={"share": ["e"]})
        run = world.sum(make_vectors("abcd", 100), make_settings(100, cohort_cap=5), round_number=1,
                        silent={"upload": ["c"], "unmask": ["d"]})
        run.total.values; run.opened["a"]; run.sent["confirm"]["a"]; run.answers["upload"]["a"]

    `silent` says who falls silent at which stage: such a client does nothing from that stage on until the
    set-up or the sum is over. `lost` says whose message of a stage is lost on its way: that client goes on,
    if it is given an answer. The stages are advertise, share, agree, accept; upload, confirm, unmask, open.

    To stand between the parties, go step by step: `advertise`, `share`, `agree`, `accept`; `upload`,
    `confirm`, `unmask`, `open` call the method of that name on each client that has something to answer, and
    `handle` hands messages to the aggregator.

    Attributes:
        identities: who is on the roster, in its order.
        quorum: who is enough.
        slots: how many sums a set-up prepares.
        session_id: names the session.
        policy_hash: names the policy.
        rounding: how clients round; to the nearest, so that sums can be compared with `exact_sum`.
        clients: each client's end.
        aggregator: the blind party.
        received: everything that `handle` has handed to the aggregator, in order.
    """

    identities: dict[str, Identity]
    quorum: Quorum = ANY_TWO
    slots: int = 16
    session_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    policy_hash: bytes = POLICY
    rounding: Rounding = field(default_factory=NearestRounding)
    clients: dict[str, SumClient] = field(init=False)
    aggregator: SumAggregator = field(init=False)
    received: list[bytes] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.clients = {name: self.make_client(name) for name in self.identities}
        self.aggregator = self.make_aggregator()

    @classmethod
    def of(cls, names: Iterable[str], **terms: Any) -> World:
        """New identities and a session of theirs; keyword arguments are those of the class."""
        return cls({name: Identity.generate(name) for name in names}, **terms)

    @property
    def roster(self) -> Roster:
        return Roster([identity.public for identity in self.identities.values()])

    @property
    def session(self) -> Session:
        return Session(self.session_id, self.policy_hash, self.roster, self.quorum, self.slots)

    @property
    def threshold(self) -> int:
        return self.session.threshold

    def make_client(self, name: str, **changes: Any) -> SumClient:
        """A client as it was at the start; keyword arguments change what it believes."""
        terms = self._terms() | {"identity": self.identities[name], "rounding": self.rounding}
        return SumClient(**(terms | changes))

    def make_aggregator(self, **changes: Any) -> SumAggregator:
        """An aggregator as it was at the start; keyword arguments change what it believes."""
        return SumAggregator(**(self._terms() | changes))

    def _terms(self) -> dict[str, Any]:
        return {
            "roster": self.roster,
            "session_id": self.session_id,
            "policy_hash": self.policy_hash,
            "quorum": self.quorum,
            "slots": self.slots,
        }

    def handle(self, stage: str, messages: Mapping[str, bytes]) -> Messages:
        """Hand a stage's messages to the aggregator."""
        self.received += messages.values()
        return self.aggregator.handle(stage, messages)

    def advertise(self, names: Iterable[str] | None = None, *, epoch: int = 0) -> Messages:
        return {
            name: self.clients[name].advertise(epoch=epoch)
            for name in (self.clients if names is None else names)
        }

    def share(self, answers: Mapping[str, bytes]) -> Messages:
        return {name: self.clients[name].share(answer) for name, answer in answers.items()}

    def agree(self, answers: Mapping[str, bytes]) -> Messages:
        return {name: self.clients[name].agree(answer) for name, answer in answers.items()}

    def accept(self, answers: Mapping[str, bytes]) -> None:
        for name, answer in answers.items():
            self.clients[name].accept(answer)

    def set_up(self, *, epoch: int = 0, silent: Silence | None = None, lost: Silence | None = None) -> World:
        """Run a set-up with whoever is there."""
        if epoch > self.aggregator.epoch:
            self.aggregator.begin_setup(epoch)
        relay = _Relay(self, silent or {}, lost or {})
        present = relay.talking(dict.fromkeys(self.clients, b""), "advertise")
        directories = relay("advertise", self.advertise(present, epoch=epoch), then="share")
        deliveries = relay("share", self.share(directories), then="agree")
        self.accept(relay("agree", self.agree(deliveries), then="accept"))
        return self

    def upload(
        self,
        vectors: Mapping[str, np.ndarray],
        settings: SumSettings,
        *,
        stage: str = "train",
        round_number: int = 1,
        slot: int | None = None,
        model_hash: bytes = MODEL,
    ) -> Messages:
        """Uploads of those whose vectors are given; the slot is the round's unless given."""
        return {
            name: self.clients[name].upload(
                ClippedUpdate(vector),
                settings=settings,
                slot=round_number if slot is None else slot,
                stage=stage,
                round_number=round_number,
                model_hash=model_hash,
            )
            for name, vector in vectors.items()
        }

    def confirm(self, answers: Mapping[str, bytes]) -> Messages:
        return {name: self.clients[name].confirm(answer) for name, answer in answers.items()}

    def unmask(self, answers: Mapping[str, bytes]) -> Messages:
        return {name: self.clients[name].unmask(answer) for name, answer in answers.items()}

    def open(self, answers: Mapping[str, bytes]) -> dict[str, IntegerSum]:
        return {name: self.clients[name].open(answer) for name, answer in answers.items()}

    def sum(
        self,
        vectors: Mapping[str, np.ndarray],
        settings: SumSettings,
        *,
        silent: Silence | None = None,
        lost: Silence | None = None,
        **place: Any,
    ) -> SumRun:
        """Run one sum of those whose vectors are given; `place` as in `upload`."""
        there = {name: v for name, v in vectors.items() if name not in (silent or {}).get("upload", ())}
        return self.finish(self.upload(there, settings, **place), silent=silent, lost=lost)

    def finish(
        self, uploads: Mapping[str, bytes], *, silent: Silence | None = None, lost: Silence | None = None
    ) -> SumRun:
        """Run one sum from its uploads on."""
        relay = _Relay(self, silent or {}, lost or {})
        survivors = relay("upload", relay.talking(uploads, "upload"), then="confirm")
        confirmed = relay("confirm", self.confirm(survivors), then="unmask")
        sums = relay("unmask", self.unmask(confirmed), then="open")
        return SumRun(relay.sent, relay.answers, self.open(sums))


class _Relay:
    """Carries messages to the aggregator and answers back to those who have not fallen silent."""

    def __init__(self, world: World, silent: Silence, lost: Silence) -> None:
        self._world, self._silent, self._lost = world, silent, lost
        self._quiet: set[str] = set()
        self.sent: dict[str, Messages] = {}
        self.answers: dict[str, Messages] = {}

    def talking(self, messages: Mapping[str, bytes], stage: str) -> Messages:
        """What goes to or comes from those who still talk at a stage."""
        self._quiet.update(self._silent.get(stage, ()))
        return {name: message for name, message in messages.items() if name not in self._quiet}

    def __call__(self, stage: str, messages: Messages, *, then: str) -> Messages:
        """A stage; the answers are for those who still talk at the next one."""
        lost = self._lost.get(stage, ())
        self.sent[stage] = {name: message for name, message in messages.items() if name not in lost}
        self.answers[stage] = self._world.handle(stage, self.sent[stage])
        return self.talking(self.answers[stage], then)


def make_world(names: Iterable[str] = ("ana", "ben", "cem"), **terms: Any) -> World:
    """Parties who have not exchanged anything yet; `World.of` with three clients."""
    return World.of(names, **terms)


def make_settings(
    length: int = 100, *, value_bits: int = 16, value_limit: float = 1.0, cohort_cap: int = 3
) -> SumSettings:
    return SumSettings(length=length, value_bits=value_bits, value_limit=value_limit, cohort_cap=cohort_cap)


def make_vectors(names: Iterable[str], length: int = 100, *, seed: int = 0) -> dict[str, np.ndarray]:
    """A random vector within plus and minus 1 for each name."""
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, length) for name in names}


def exact_sum(
    vectors: Mapping[str, np.ndarray], settings: SumSettings, names: Iterable[str] | None = None
) -> np.ndarray:
    """The integers that a sum over `names` (everybody) opens to when clients round to the nearest."""
    chosen = vectors if names is None else names
    encoded = [encode(ClippedUpdate(vectors[n]), settings, rounding=NearestRounding()) for n in chosen]
    return np.sum([one.values for one in encoded], axis=0, dtype=np.int64)
