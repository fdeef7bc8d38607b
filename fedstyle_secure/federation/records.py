"""What is written down about each exchange and about the whole run.

Flows in: sizes, times and epsilon. Flows out: the JSON that `run` prints. Never seen here: values of updates
or artworks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["ExchangeRecord"]


@dataclass(frozen=True)
class ExchangeRecord:
    """One finished exchange.

    Attributes:
        stage: what it was for.
        round: number of the training round, 0 for the stages that happen once.
        cohort: number of artists whose releases are in the sum.
        bytes_up_per_artist: bytes each artist sent, the most of any; a set-up that came right before is
            counted here.
        bytes_down_per_artist: the same of the bytes that each received.
        seconds: wall-clock seconds by step (`release`, `protect`, `aggregate`, `agree`, `unmask`, `open`),
            summed over the artists, who take turns in the embedded engine.
        epsilon_so_far: what has been spent after it, at the policy's delta.
    """

    stage: str
    round: int
    cohort: int
    bytes_up_per_artist: int
    bytes_down_per_artist: int
    seconds: Mapping[str, float]
    epsilon_so_far: float

    def to_json(self) -> dict[str, Any]:
        """The record as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ExchangeRecord:
        """The inverse of `to_json`."""
        return cls(**value)
