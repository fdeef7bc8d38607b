"""The opened sum is the exact integer sum of the survivors' clear encodings, whatever the sizes, widths,
values, orders, and dropouts up to n - threshold at any stages; one dropout more is refused by name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from fedstyle_secure.errors import ErrorCode
from fedstyle_secure.secure_aggregation import protection
from fedstyle_secure.secure_aggregation.encoding import Rounding, SumSettings, SystemRounding, decode, encode
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate, EncodedUpdate
from tests.secure_attacks import refusal, refused
from tests.secure_sums import World, exact_sum, make_settings, make_vectors

SET_UP_STAGES = ("advertise", "share", "agree")
SUM_STAGES = ("upload", "confirm", "unmask")
LARGEST_COHORT = 9


def names_of(size: int) -> tuple[str, ...]:
    return tuple(f"client {place}" for place in range(size))


@strategies.composite
def cohorts(draw) -> tuple[tuple[str, ...], Quorum]:
    """2 to 9 clients and any quorum that they can have."""
    size = draw(strategies.integers(2, LARGEST_COHORT))
    minimum = draw(strategies.integers(2, size))
    # The threshold, (n + colluding) // 2 + 1 or more, is at most n.
    colluding = draw(strategies.integers(0, min(minimum - 1, max(0, size - 2))))
    return names_of(size), Quorum(minimum=minimum, colluding=colluding)


@strategies.composite
def sizes(draw, *, clients: int) -> SumSettings:
    """Settings with room for the cohort, from one value to several ciphertexts."""
    return SumSettings(
        length=draw(strategies.one_of(strategies.integers(1, 300), strategies.integers(4000, 20_000))),
        value_bits=draw(strategies.integers(8, 24)),
        value_limit=draw(strategies.sampled_from([1e-6, 0.1, 1.0, 777.0])),
        cohort_cap=draw(strategies.sampled_from([cap for cap in (clients, 64, 256, 1024) if cap >= clients])),
    )


def vectors_of(
    shape: str, names: tuple[str, ...], sum_settings: SumSettings, seed: int
) -> dict[str, np.ndarray]:
    """Vectors that often stand at or beyond the limit."""
    rng, length = np.random.default_rng(seed), sum_settings.length
    shapes = {
        "limit": lambda: np.ones(length),
        "minus limit": lambda: -np.ones(length),
        "mixed": lambda: rng.choice([-1.0, 1.0, 0.0, 0.3, -0.999], length),
        "beyond": lambda: rng.uniform(-5, 5, length),
        "far beyond": lambda: rng.choice([-1e300, 1e300], length),
        "zero": lambda: np.zeros(length),
        "tiny": lambda: rng.uniform(-1e-300, 1e-300, length),
    }
    return {name: shapes[shape]() * sum_settings.value_limit for name in names}


SHAPES = strategies.sampled_from(["limit", "minus limit", "mixed", "beyond", "far beyond", "zero", "tiny"])


@dataclass(frozen=True)
class Dropouts:
    """Who falls silent at which stage, and whose message of a stage is lost while it goes on."""

    silent: dict[str, list[str]]
    lost: dict[str, list[str]]

    @classmethod
    def of(cls, drawn: dict[str, tuple[str, str]]) -> Dropouts:
        """From client -> stage and way."""
        made = {"silent": {}, "lost": {}}
        for name, (stage, way) in drawn.items():
            made[way].setdefault(stage, []).append(name)
        return cls(**made)


@strategies.composite
def dropouts(draw, *, names: tuple[str, ...], most: int) -> Dropouts:
    """Up to `most` clients, each at a stage of its own of the set-up or of the sum."""
    chosen = draw(strategies.lists(strategies.sampled_from(names), max_size=most, unique=True))
    stages = strategies.sampled_from([*SET_UP_STAGES, "accept", *SUM_STAGES])
    return Dropouts.of(
        {
            name: draw(
                strategies.tuples(stages, strategies.sampled_from(["silent", "lost"])).filter(_possible)
            )
            for name in chosen
        }
    )


def _possible(stage_and_way: tuple[str, str]) -> bool:
    return stage_and_way != ("accept", "lost")  # nobody sends anything then


class Recorded:
    """The clear encodings of what each client uploads."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self.encoded: dict[str, np.ndarray] = {}

    def upload(self, world: World, name: str, vector: np.ndarray, sum_settings: SumSettings) -> bytes:
        def encode_and_record(
            update: ClippedUpdate, sum_settings: SumSettings, *, rounding: Rounding
        ) -> EncodedUpdate:
            encoded = encode(update, sum_settings, rounding=rounding)
            self._blocks.append(encoded.values.astype(np.int64))
            return encoded

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(protection, "encode", encode_and_record)
            (message,) = world.upload({name: vector}, sum_settings).values()
        self.encoded[name], self._blocks = np.concatenate(self._blocks), []
        return message


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=strategies.data(), order=strategies.randoms(use_true_random=False))
def test_the_opened_sum_is_the_exact_sum_of_the_survivors_encodings(data, order) -> None:
    names, quorum = data.draw(cohorts())
    world = World.of(names, quorum=quorum, slots=2, rounding=SystemRounding())
    sum_settings = data.draw(sizes(clients=len(names)))
    vectors = vectors_of(data.draw(SHAPES), names, sum_settings, data.draw(strategies.integers(0, 2**32)))
    gone = data.draw(dropouts(names=names, most=len(names) - world.threshold))

    world.set_up(silent=gone.silent, lost=gone.lost)
    there = [name for name in names if world.clients[name]._membership]
    order.shuffle(there)
    recorded = Recorded()
    uploads = {
        name: recorded.upload(world, name, vectors[name], sum_settings)
        for name in there
        if name not in gone.silent.get("upload", ())
    }
    run = world.finish(uploads, silent=gone.silent, lost=gone.lost)

    survivors = [name for name in uploads if name not in gone.lost.get("upload", ())]
    assert run.total.clients == len(survivors) >= world.threshold
    expected = np.sum([recorded.encoded[name] for name in survivors], axis=0)
    np.testing.assert_array_equal(run.total.values, expected)
    fell_silent = {name for stage in ("confirm", "unmask") for name in gone.silent.get(stage, ())}
    assert set(run.opened) == set(survivors) - fell_silent
    clamped = sum(
        np.clip(vectors[name], -sum_settings.value_limit, sum_settings.value_limit) for name in survivors
    )
    step = 1 / sum_settings.steps_per_unit
    np.testing.assert_allclose(
        decode(run.total, sum_settings), clamped, rtol=0, atol=len(survivors) * step * 1.000001
    )


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=strategies.data())
def test_one_dropout_more_is_refused_by_name_and_a_retry_reveals_nothing(data) -> None:
    """Whatever stage the last one too many is missing at; afterwards a new round works, with everybody."""
    names, quorum = data.draw(cohorts())
    world = World.of(names, quorum=quorum, slots=2)
    most = len(names) - world.threshold
    stage = data.draw(strategies.sampled_from(SUM_STAGES))
    earlier = SUM_STAGES[: SUM_STAGES.index(stage) + 1]
    chosen = data.draw(strategies.permutations(names))[: most + 1]
    way = strategies.sampled_from(["silent", "lost"])
    # All but one at this stage or before it, the last one at this stage.
    drawn = {name: (data.draw(strategies.sampled_from(earlier)), data.draw(way)) for name in chosen[:-1]}
    # A lost confirmation is no obstacle to revealing a share, so it is missing at its own stage alone.
    if stage == "unmask":
        drawn = {name: (at, "silent" if at == "confirm" else how) for name, (at, how) in drawn.items()}
    gone = Dropouts.of(drawn | {chosen[-1]: (stage, data.draw(way))})
    vectors, sum_settings = make_vectors(names, 5), make_settings(5, cohort_cap=len(names))

    world.set_up()
    error = refusal(lambda: world.sum(vectors, sum_settings, silent=gone.silent, lost=gone.lost))
    assert error.code is ErrorCode.COHORT_INCOMPLETE
    missing = Counter(name for name in names if f"{name} " in f"{error.message} ".replace(",", " "))
    assert set(missing) == set(chosen)
    assert f"{world.threshold} are needed" in error.message

    for name in names:
        again = {name: vectors[name]}
        silent_before = name in gone.silent.get("upload", ())
        if not silent_before:
            assert refused(lambda again=again: world.upload(again, sum_settings)) is ErrorCode.MASK_REUSED
            # Neither in another slot, nor as another round in this one.
            code = refused(lambda again=again: world.upload(again, sum_settings, slot=0))
            assert code is ErrorCode.MASK_REUSED
            code = refused(lambda again=again: world.upload(again, sum_settings, round_number=2, slot=1))
            assert code is ErrorCode.MASK_REUSED
    world.aggregator.abandon_sum()
    run = world.sum(vectors, sum_settings, round_number=2, slot=0)
    np.testing.assert_array_equal(run.total.values, exact_sum(vectors, sum_settings))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=strategies.data())
def test_one_dropout_more_in_a_set_up_is_refused_by_name_and_the_next_one_works(data) -> None:
    names, quorum = data.draw(cohorts())
    world = World.of(names, quorum=quorum, slots=1)
    most = len(names) - world.threshold
    stage = data.draw(strategies.sampled_from(SET_UP_STAGES))
    earlier = SET_UP_STAGES[: SET_UP_STAGES.index(stage) + 1]
    chosen = data.draw(strategies.permutations(names))[: most + 1]
    way = strategies.sampled_from(["silent", "lost"])
    drawn = {name: (data.draw(strategies.sampled_from(earlier)), data.draw(way)) for name in chosen[:-1]}
    gone = Dropouts.of(drawn | {chosen[-1]: (stage, data.draw(way))})

    error = refusal(lambda: world.set_up(silent=gone.silent, lost=gone.lost))
    assert error.code is ErrorCode.COHORT_INCOMPLETE
    assert all(name in error.message for name in chosen)
    world.aggregator.begin_setup(1)
    world.set_up(epoch=1)
    vectors, sum_settings = make_vectors(names, 5), make_settings(5, cohort_cap=len(names))
    run = world.sum(vectors, sum_settings, slot=0)
    np.testing.assert_array_equal(run.total.values, exact_sum(vectors, sum_settings))


_FIVE = World.of(names_of(5), slots=64).set_up()
_SLOTS = count()


@settings(max_examples=10, deadline=None)
@given(order=strategies.permutations(names_of(5)), more=strategies.permutations(names_of(5)))
def test_the_order_of_messages_does_not_change_the_sum(order, more) -> None:
    slot = next(_SLOTS)
    vectors, sum_settings = make_vectors(order, 500), make_settings(500, cohort_cap=5)
    uploads = _FIVE.upload({name: vectors[name] for name in order}, sum_settings, round_number=slot)
    answers = _FIVE.handle("upload", uploads)
    answers = _FIVE.handle("confirm", _FIVE.confirm({name: answers[name] for name in more}))
    answers = _FIVE.handle("unmask", _FIVE.unmask({name: answers[name] for name in order}))
    for opened in _FIVE.open(answers).values():
        np.testing.assert_array_equal(opened.values, exact_sum(vectors, sum_settings))
