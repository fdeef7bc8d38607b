"""A whole run: from the artists' features to released prototypes.

Flows in: the plan and each artist's features. Flows out: the final released state and a record of every
exchange. Never seen here: artworks, keys, sums before noise.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from fedstyle_secure.federation.artist import Artist
from fedstyle_secure.federation.global_state import GlobalState
from fedstyle_secure.federation.journal import Journal, NoJournal, Progress
from fedstyle_secure.federation.records import ExchangeRecord
from fedstyle_secure.federation.round import (
    ExchangeOutcome,
    SetupCost,
    run_exchange,
    set_up_secure_sums,
)
from fedstyle_secure.federation.run_plan import Exchange, RunPlan
from fedstyle_secure.federation.transcript import Transcript
from fedstyle_secure.federation.transport import EmbeddedTransport, Transport
from fedstyle_secure.privacy.noise import NoiseSource, SystemNoise
from fedstyle_secure.privacy.plan import ReleaseMeter
from fedstyle_secure.secure_aggregation.aggregator import SumAggregator
from fedstyle_secure.secure_aggregation.client import SumClient
from fedstyle_secure.secure_aggregation.encoding import NearestRounding, SystemRounding
from fedstyle_secure.secure_aggregation.keys import Identity, Roster
from fedstyle_secure.secure_aggregation.quorum import Quorum

__all__ = ["SessionResult", "run_session"]

_SLOTS = 32
"""Sums that a set-up prepares. A long run sets up again, with fresh keys."""

Features = Mapping[str, Float[np.ndarray, "artworks embedding"]]


@dataclass(frozen=True)
class SessionResult:
    """What a session released.

    Attributes:
        state: the final released state.
        records: one record for each exchange.
        transcript: what each party saw since the session was started or resumed.
    """

    state: GlobalState
    records: tuple[ExchangeRecord, ...]
    transcript: Transcript


def run_session(
    plan: RunPlan,
    features: Features,
    *,
    journal: Journal | None = None,
    noise: Callable[[], NoiseSource] = SystemNoise,
    keep_transcript: bool = False,
    on_exchange: Callable[[ExchangeRecord], None] | None = None,
) -> SessionResult:
    """Run all exchanges of a plan in this process, from where the journal says they stopped.

    Args:
        plan: the run's public constants.
        features: each artist's projected public-encoder features.
        journal: where progress is kept; nothing is kept by default.
        noise: makes each artist's noise source. Anything but `SystemNoise` voids the guarantee.
        keep_transcript: keep the messages' bytes, not only their sizes and hashes.
        on_exchange: told of every finished exchange.

    Returns:
        The released state and the records.

    Raises:
        BudgetError: a release that the plan does not hold was asked for.
        ProtocolError: the protocol was broken.
        SetupError: progress cannot be written.
    """
    journal = journal if journal is not None else NoJournal()
    progress = journal.progress() or Progress(GlobalState.initial(plan), ())
    done, to_do = plan.exchanges[: len(progress.records)], plan.exchanges[len(progress.records) :]

    transcript = Transcript(keep_content=keep_transcript)
    if not to_do:
        journal.commit(progress)  # also clears what a kill after the last exchange may have left
        return SessionResult(progress.state, progress.records, transcript)
    noised = noise().private
    with _one_thread():
        artists, transport = _assemble(plan, features, done, noise, transcript)
        for index, exchange in enumerate(to_do):
            epoch, slot = divmod(index, _SLOTS)
            setup = set_up_secure_sums(artists, transport, epoch=epoch) if slot == 0 else None
            outcome = run_exchange(exchange, artists, progress.state, transport, journal, slot=slot)
            done = (*done, exchange)
            record = _record(exchange, outcome, setup, epsilon_so_far=plan.epsilon_after(done))
            state = progress.state.after(exchange, outcome.total, plan, noised=noised)
            progress = Progress(state, (*progress.records, record))
            journal.commit(progress)
            if on_exchange is not None:
                on_exchange(record)
    return SessionResult(progress.state, progress.records, transcript)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: a style head is so small that several would only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _assemble(
    plan: RunPlan,
    features: Features,
    done: Sequence[Exchange],
    noise: Callable[[], NoiseSource],
    transcript: Transcript,
) -> tuple[Sequence[Artist], Transport]:
    identities = {name: Identity.generate(name) for name in plan.artists}
    roster = Roster([identity.public for identity in identities.values()])
    session_id = secrets.token_bytes(16)
    policy_hash = plan.policy.fingerprint()
    cohort = plan.policy.federation.cohort
    quorum = Quorum(minimum=cohort.minimum, colluding=cohort.colluding)
    artists = [
        Artist(
            name=name,
            features=features[name],
            plan=plan,
            # Rounding at random is unbiased; without noise the same values are to give the same sum.
            client=SumClient(
                identity=identities[name],
                roster=roster,
                session_id=session_id,
                policy_hash=policy_hash,
                quorum=quorum,
                slots=_SLOTS,
                rounding=SystemRounding() if source.private else NearestRounding(),
            ),
            noise=source,
            meter=ReleaseMeter(plan.budget, done=[exchange.stage for exchange in done]),
        )
        for name in plan.artists
        for source in [noise()]
    ]
    aggregator = SumAggregator(
        roster=roster, session_id=session_id, policy_hash=policy_hash, quorum=quorum, slots=_SLOTS
    )
    return artists, EmbeddedTransport(aggregator, transcript)


def _record(
    exchange: Exchange, outcome: ExchangeOutcome, setup: SetupCost | None, *, epsilon_so_far: float
) -> ExchangeRecord:
    return ExchangeRecord(
        stage=exchange.stage,
        round=exchange.round_number,
        cohort=outcome.cohort,
        bytes_up_per_artist=_most(outcome.bytes_up, setup.bytes_up if setup else {}),
        bytes_down_per_artist=_most(outcome.bytes_down, setup.bytes_down if setup else {}),
        seconds={step: round(seconds, 6) for step, seconds in outcome.seconds.items()},
        epsilon_so_far=epsilon_so_far,
    )


def _most(exchange: Mapping[str, int], setup: Mapping[str, int]) -> int:
    """The most that an artist's messages come to, with the set-up that came right before if there was one."""
    return max(size + setup.get(name, 0) for name, size in exchange.items())
