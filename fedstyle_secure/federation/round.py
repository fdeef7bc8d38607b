"""One exchange: the main path of the product, top to bottom.

Flows in: every artist's private features, inside the artist objects. Flows out: the sum of their releases,
opened by the artists alone. Never seen here: a raw update; the bytes that pass the transport are ciphertexts
under masks.

    features -> clipped, noised release -> encoded, masked, encrypted, signed upload -> signed survivor list
    -> shares of spent seeds -> sealed sum without masks -> opened sum -> next state
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.federation.artist import Artist
from fedstyle_secure.federation.global_state import GlobalState
from fedstyle_secure.federation.journal import Journal
from fedstyle_secure.federation.run_plan import Exchange
from fedstyle_secure.federation.transport import Transport

__all__ = ["ExchangeOutcome", "SetupCost", "run_exchange", "set_up_secure_sums"]


@dataclass(frozen=True)
class ExchangeOutcome:
    """What came of an exchange.

    Attributes:
        total: the opened and decoded sum, the same for every artist.
        cohort: how many artists' releases are in it.
        bytes_up: bytes that each artist sent.
        bytes_down: bytes that each artist received.
        seconds: wall-clock seconds by step.
    """

    total: Float[np.ndarray, " values"]
    cohort: int
    bytes_up: Mapping[str, int]
    bytes_down: Mapping[str, int]
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SetupCost:
    """Bytes of a set-up.

    Attributes:
        bytes_up: bytes that each artist sent.
        bytes_down: bytes that each artist received.
    """

    bytes_up: Mapping[str, int]
    bytes_down: Mapping[str, int]


def set_up_secure_sums(artists: Sequence[Artist], transport: Transport, *, epoch: int = 0) -> SetupCost:
    """Agree on keys for the sums to come, which the aggregator relays sealed.

    Args:
        artists: all artists of the roster.
        transport: carries the bytes.
        epoch: number of the set-up, from 0; each has fresh keys.

    Returns:
        What it cost each artist.

    Raises:
        ProtocolError: somebody sent what the protocol does not allow.
    """
    present = {artist.name: artist.client for artist in artists}
    advertisements = {name: client.advertise(epoch=epoch) for name, client in present.items()}
    directories = transport.exchange("advertise", advertisements)
    boxes = {name: present[name].share(message) for name, message in directories.items()}
    deliveries = transport.exchange("share", boxes)
    signed = {name: present[name].agree(message) for name, message in deliveries.items()}
    agreements = transport.exchange("agree", signed)
    for name, message in agreements.items():
        present[name].accept(message)
    return SetupCost(
        bytes_up=_sizes(advertisements, boxes, signed),
        bytes_down=_sizes(directories, deliveries, agreements),
    )


def run_exchange(
    exchange: Exchange,
    artists: Sequence[Artist],
    state: GlobalState,
    transport: Transport,
    journal: Journal,
    *,
    slot: int,
) -> ExchangeOutcome:
    """Sum one release of every artist, blindly.

    Args:
        exchange: what is released.
        artists: all artists of the roster.
        state: the released state that they share.
        transport: carries the bytes.
        journal: keeps the releases until the exchange is done, so that a restart sends the same ones.
        slot: which of the prepared slots the sum uses up.

    Returns:
        The opened sum with its costs.

    Raises:
        BudgetError: an artist's plan has no such release left.
        ProtocolError: the sum cannot be opened, or two artists opened different sums.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, "release"):
        releases = journal.keep(
            exchange, lambda: {artist.name: artist.release(exchange, state) for artist in artists}
        )
    with _timed(seconds, "protect"):
        uploads = {
            artist.name: artist.protect(exchange, releases[artist.name], state, slot=slot)
            for artist in artists
        }
    present = {artist.name: artist for artist in artists}
    with _timed(seconds, "aggregate"):
        survivors = transport.exchange("upload", uploads)
    with _timed(seconds, "agree"):
        signed = {name: present[name].client.confirm(message) for name, message in survivors.items()}
        confirmed = transport.exchange("confirm", signed)
        shares = {name: present[name].client.unmask(message) for name, message in confirmed.items()}
    with _timed(seconds, "unmask"):
        sums = transport.exchange("unmask", shares)
    with _timed(seconds, "open"):
        totals = {name: present[name].open(exchange, message) for name, message in sums.items()}
    return ExchangeOutcome(
        total=_agreed(totals),
        cohort=len(survivors),
        bytes_up=_sizes(uploads, signed, shares),
        bytes_down=_sizes(survivors, confirmed, sums),
        seconds=seconds,
    )


def _sizes(*messages: Mapping[str, bytes]) -> dict[str, int]:
    """Bytes of all of an artist's messages together."""
    return {name: sum(len(each.get(name, b"")) for each in messages) for name in messages[0]}


def _agreed(totals: Mapping[str, Float[np.ndarray, " values"]]) -> Float[np.ndarray, " values"]:
    first, *others = totals.values()
    if any(not np.array_equal(first, other) for other in others):
        raise ProtocolError(
            ErrorCode.SUM_MISMATCH,
            "two artists opened different sums of the same exchange",
            fix="Do not use this run: the aggregator sent different answers to different artists.",
        )
    return first


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - started
