"""A session whose aggregator lies about one sum: it knows every mask that is left in it, and does the work.

Shared by the tests of what clients notice (`test_sum_integrity`) and of what a refusal costs them
(`test_refused_sums`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from fedstyle_secure.errors import ErrorCode
from fedstyle_secure.secure_aggregation.encryption import SealedSum
from fedstyle_secure.secure_aggregation.packing import Layout
from fedstyle_secure.secure_aggregation.wire import Label
from tests.secure_attacks import Coalition, add_up, refused, write_sum
from tests.secure_sums import MODEL, Messages, World, exact_sum, make_settings

NAMES = ("ana", "ben", "cem", "dia")
OTHERS = ("ana", "cem", "dia")
LENGTH = 2 * 8186 + 4096
"""Two full ciphertexts, and one that is not full in a block of its own."""
SETTINGS = make_settings(LENGTH, value_bits=15, cohort_cap=4)
LAYOUT = Layout.of(SETTINGS)
PLAIN_BITS = LAYOUT.parameters.plain_bits
ROUND = Label("train", 2, MODEL, 0, 2)
EARLIER = Label("train", 1, MODEL, 0, 1)

Sealed = list[SealedSum]


@dataclass
class Attack:
    """A session in which one sum is done and another one awaits its answer, and an aggregator that lies.

    Attributes:
        world: the session.
        coalition: what the aggregator knows; no client helps it.
        vectors: everybody's vectors of the second sum, all of them below 0, so that twice an honest sum still
            has values that an honest sum could have.
        earlier: uploads of the first sum.
        uploads: uploads of the second.
    """

    world: World
    coalition: Coalition
    vectors: dict[str, np.ndarray]
    earlier: Messages
    uploads: Messages

    def total(self, names: Iterable[str] = NAMES, *, label: Label = ROUND) -> Sealed:
        """A sum of uploads, each as often as it is named, less every mask that the aggregator knows."""
        uploads = self.uploads if label == ROUND else self.earlier
        chosen = list(names)
        masks = [mask for name in chosen for mask in self.coalition.known_masks(name, label, SETTINGS)]
        return add_up([uploads[name] for name in chosen], self.world.session, SETTINGS, masks=masks)

    def message(self, sealed: Sealed, *, contributed: Sequence[str] = NAMES, label: Label = ROUND) -> bytes:
        return write_sum(
            sealed, session=self.world.session, settings=SETTINGS, label=label, contributed=contributed
        )

    def everybody_refuses(self, message: bytes, names: Iterable[str] = NAMES) -> ErrorCode:
        """The code with which each client refuses."""
        (code,) = {refused(self.world.clients[name].open, message) for name in names}
        return code

    @contextmanager
    def tried(self) -> Iterator[None]:
        """Give everybody its keys back afterwards, as if it had been another session."""
        clients = self.world.clients.values()
        kept = [(client._membership, client._protector, dict(client._pending)) for client in clients]
        yield
        for client, keys in zip(clients, kept, strict=True):
            client._membership, client._protector, client._pending = keys

    def everybody_opens(self, message: bytes) -> None:
        """Every client opens the exact sum."""
        expected = exact_sum(self.vectors, SETTINGS)
        for client in self.world.clients.values():
            np.testing.assert_array_equal(client.open(message).values, expected)


def negative_vectors(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, -0.6, LENGTH) for name in NAMES}


def make_attack() -> Attack:
    """The session, up to the awaited sum."""
    world = World.of(NAMES, slots=4).set_up()
    coalition = Coalition(world)
    earlier = world.sum(negative_vectors(1), SETTINGS, round_number=1)
    vectors = negative_vectors(2)
    run = world.sum(vectors, SETTINGS, round_number=2, silent={"open": NAMES})
    coalition.learn(earlier.sent["unmask"].values(), coalition.survivors(EARLIER, NAMES))
    coalition.learn(run.sent["unmask"].values(), coalition.survivors(ROUND, NAMES))
    return Attack(world, coalition, vectors, earlier.sent["upload"], run.sent["upload"])
