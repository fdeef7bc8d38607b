"""One exchange: the main path of the product, top to bottom.

Flows in: every artist's private features, inside the artist objects. Flows out: the sum of their releases,
opened by the artists alone. Never seen here: a raw update; the bytes that pass the transport are ciphertexts
under masks.

    features -> clipped, noised release -> encoded, masked, encrypted, signed upload -> sealed sum -> opened
    sum -> next state
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

__all__ = ["ExchangeOutcome", "run_exchange", "set_up_secure_sums"]


@dataclass(frozen=True)
class ExchangeOutcome:
    """What came of an exchange.

    Attributes:
        total: the opened and decoded sum, the same for every artist.
        bytes_up: bytes that each artist sent.
        bytes_down: bytes that each artist received.
        seconds: wall-clock seconds by step.
    """

    total: Float[np.ndarray, " values"]
    bytes_up: Mapping[str, int]
    bytes_down: Mapping[str, int]
    seconds: Mapping[str, float] = field(default_factory=dict)


def set_up_secure_sums(artists: Sequence[Artist], transport: Transport) -> None:
    """Agree on mask keys and hand round the decryption key, which the aggregator relays sealed.

    Raises:
        ProtocolError: somebody sent what the protocol does not allow.
    """
    advertisements = {artist.name: artist.client.advertise() for artist in artists}
    rosters = transport.exchange("advertise", advertisements)
    shares = {artist.name: artist.client.share_key(rosters[artist.name]) for artist in artists}
    keys = transport.exchange("share", shares)
    for artist in artists:
        artist.client.accept_key(keys[artist.name])


def run_exchange(
    exchange: Exchange, artists: Sequence[Artist], state: GlobalState, transport: Transport, journal: Journal
) -> ExchangeOutcome:
    """Sum one release of every artist, blindly.

    Args:
        exchange: what is released.
        artists: all artists of the roster.
        state: the released state that they share.
        transport: carries the bytes.
        journal: keeps the releases until the exchange is done, so that a restart sends the same ones.

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
        uploads = {artist.name: artist.protect(exchange, releases[artist.name], state) for artist in artists}
    with _timed(seconds, "aggregate"):
        downloads = transport.exchange("upload", uploads)
    with _timed(seconds, "open"):
        totals = {artist.name: artist.open(exchange, downloads[artist.name]) for artist in artists}
    return ExchangeOutcome(
        total=_agreed(totals),
        bytes_up={name: len(message) for name, message in uploads.items()},
        bytes_down={name: len(message) for name, message in downloads.items()},
        seconds=seconds,
    )


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
