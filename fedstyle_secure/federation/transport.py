"""The one door through which bytes pass between artists and the platform.

Flows in: one message per artist. Flows out: one answer per artist. The embedded engine, Flower and NVFlare
each implement `Transport`, and drive the very same round. Never seen here: anything but bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, final

from fedstyle_secure.federation.transcript import PLATFORM, Transcript
from fedstyle_secure.secure_aggregation.aggregator import ProtocolStage, SumAggregator

__all__ = ["EmbeddedTransport", "Transport"]


class Transport(Protocol):
    """Carries one exchange: all artists' messages of a stage up, the platform's answers down."""

    def exchange(self, stage: str, messages: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Send each artist's message to the platform and return its answer to each.

        Args:
            stage: stage of the protocol.
            messages: artist's name to the bytes it sends.

        Returns:
            Artist's name to the bytes it receives.

        Raises:
            ProtocolError: the platform or an artist broke the protocol.
        """
        ...


@final
class EmbeddedTransport:
    """Hands the bytes to a blind aggregator in this process and records what each party saw."""

    def __init__(self, aggregator: SumAggregator, transcript: Transcript) -> None:
        self._aggregator = aggregator
        self._transcript = transcript

    def exchange(self, stage: str, messages: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """See `Transport.exchange`."""
        for artist, content in messages.items():
            self._transcript.record(stage=stage, sender=artist, recipient=PLATFORM, content=content)
        if stage == ProtocolStage.ADVERTISE and self._aggregator.stage is ProtocolStage.UPLOAD:
            self._aggregator.begin_setup(self._aggregator.epoch + 1)  # the slots of the last one are used up
        answers = self._aggregator.handle(stage, messages)
        for artist, content in answers.items():
            self._transcript.record(stage=stage, sender=PLATFORM, recipient=artist, content=content)
        return answers
