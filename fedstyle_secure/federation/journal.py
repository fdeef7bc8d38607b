"""What must survive a crash, so that no release is ever drawn twice.

Flows in: releases before they leave, released state after each exchange. Flows out: the same, after a
restart. `RunFolder` keeps it on disk; `NoJournal` keeps nothing, for sessions that are thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
from jaxtyping import Float

from fedstyle_secure.federation.global_state import GlobalState
from fedstyle_secure.federation.records import ExchangeRecord
from fedstyle_secure.federation.run_plan import Exchange

__all__ = ["Journal", "NoJournal", "Progress", "Releases"]

Releases = Mapping[str, Float[np.ndarray, " values"]]


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        state: the released state after the last finished exchange.
        records: one record for each finished exchange, in order.
    """

    state: GlobalState
    records: tuple[ExchangeRecord, ...]


class Journal(Protocol):
    """Where a session keeps what must survive a crash."""

    def progress(self) -> Progress | None:
        """How far the run is; None before its first exchange has ended."""
        ...

    def keep(self, exchange: Exchange, draw: Callable[[], Releases]) -> Releases:
        """Return the releases of an exchange: those kept from before, else newly drawn ones.

        New ones are kept before this returns, so before anything leaves: a restart sends the same releases
        again, and whoever sees both learns nothing more.
        """
        ...

    def commit(self, progress: Progress) -> None:
        """Keep how far the run is. From then on the exchange counts as done."""
        ...


@final
class NoJournal:
    """Keeps nothing."""

    def progress(self) -> Progress | None:
        """See `Journal.progress`."""
        return None

    def keep(self, exchange: Exchange, draw: Callable[[], Releases]) -> Releases:
        """See `Journal.keep`."""
        del exchange
        return draw()

    def commit(self, progress: Progress) -> None:
        """See `Journal.commit`."""
