"""What a person at the terminal hears while a run goes on.

Flows in: what the run tells its observer. Flows out: sentences and progress bars on stderr.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import final

from fedstyle_secure.cli.console import Talk
from fedstyle_secure.cli.page import readable_bytes
from fedstyle_secure.federation.records import ExchangeRecord
from fedstyle_secure.federation.run_plan import RunPlan, Stage
from fedstyle_secure.federation.style_run import RunObserver
from fedstyle_secure.privacy.guarantee import round_up

__all__ = ["Narrator"]

# About so many lines for the training rounds, however many there are.
_LINES_FOR_ROUNDS = 20


@final
class Narrator(RunObserver):
    """Tells what a run is doing: a line for each stage and about twenty rounds, and bars on a terminal."""

    def __init__(self, voice: Talk) -> None:
        self._voice = voice
        self._rounds = 0

    def notice(self, message: str) -> None:
        """See `RunObserver.notice`."""
        self._voice.warn(message)

    def planned(self, plan: RunPlan) -> None:
        """See `RunObserver.planned`."""
        self._rounds = plan.policy.federation.rounds
        self._voice.say(
            f"{len(plan.artists)} artists; {len(plan.exchanges)} encrypted sums planned "
            f"within epsilon {plan.policy.privacy.epsilon:g}."
        )

    def exchanged(self, record: ExchangeRecord) -> None:
        """See `RunObserver.exchanged`."""
        is_round = record.stage == Stage.TRAIN
        step = max(1, self._rounds // _LINES_FOR_ROUNDS)
        if is_round and record.round not in (1, self._rounds) and record.round % step:
            return
        name = f"round {record.round}/{self._rounds}" if is_round else record.stage
        self._voice.say(
            f"  {name:<14} cohort {record.cohort}   up {readable_bytes(record.bytes_up_per_artist)}, "
            f"down {readable_bytes(record.bytes_down_per_artist)} an artist   "
            f"{sum(record.seconds.values()):.2f} s   epsilon so far {round_up(record.epsilon_so_far)}"
        )

    def progress(self, label: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """See `RunObserver.progress`."""
        return self._voice.progress(label, total=total)
