"""Tens of thousands of hostile messages, in every state of clients and aggregator: each is refused by name.

Nothing crashes or hangs, nothing is accepted but what was delivered before, byte for byte, and nothing is
changed by the attempts: at the end the honest messages still pass and the sum is exact. The senders are
strangers, who damage, replay and misplace; an aggregator that lies, with right checksums; and eve, who is on
the roster and signs what she likes.

The default run fires some thousands; `-m slow` fires 100,000.
"""

from __future__ import annotations

import gc
import hashlib
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.encoding import SETTINGS_BYTES, IntegerSum
from fedstyle_secure.secure_aggregation.frames import upload_bytes
from fedstyle_secure.secure_aggregation.keys import Identity
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.running_sum import BlockSum
from fedstyle_secure.secure_aggregation.sum_messages import SurvivorList, write_survivors
from fedstyle_secure.secure_aggregation.wire import Label, MessageKind
from tests.hostile_messages import (
    HEADER_EDITS,
    Envelope,
    bit_flips_and_cuts,
    damaged,
    hostile,
    wrong_settings,
)
from tests.secure_attacks import bytes_in, refused
from tests.secure_sums import MODEL, Messages, World, exact_sum, make_settings, make_vectors

NAMES = ("ana", "ben", "eve")
QUORUM = Quorum(minimum=3, colluding=1)  # everybody must be there: one list alone is right
SETTINGS = make_settings(1, cohort_cap=3)
STEPS = {
    MessageKind.ADVERTISEMENTS: "share",
    MessageKind.SHARE_DELIVERY: "agree",
    MessageKind.AGREEMENTS: "accept",
    MessageKind.SURVIVORS: "confirm",
    MessageKind.CONFIRMATIONS: "unmask",
    MessageKind.SUM: "open",
}
"""What a client does with each kind of message."""

ZOE = Identity.generate("zoe")

NAMED = {
    ErrorCode.MESSAGE_MALFORMED,
    ErrorCode.MESSAGE_UNEXPECTED,
    ErrorCode.MESSAGE_REPLAYED,
    ErrorCode.SIGNATURE_INVALID,
    ErrorCode.COHORT_INCOMPLETE,
    ErrorCode.SURVIVORS_INCONSISTENT,
    ErrorCode.STAGE_OUT_OF_ORDER,
    ErrorCode.NO_DECRYPTION_KEY,
    ErrorCode.SUM_MISMATCH,
}
AFTER_DECRYPTION = {ErrorCode.SUM_MISMATCH, ErrorCode.MESSAGE_MALFORMED}
TIME_LIMIT_S = 1.0
"""Of processor time, for each message."""


@dataclass
class Siege:
    """A session that is fired at in each of its states.

    Attributes:
        world: the session.
        rng: decides what is fired.
        shots: how many messages for each state.
        earlier: messages of another session of the same clients, and of an earlier set-up.
        thorough: whether every bit of the front of every message is changed once.
        said: honest messages of this session so far.
        awaited: those of them that are still to be delivered.
        total: the exact sum.
        refusals: state, party and code -> how often.
        slowest_s: the longest that a message has taken.
    """

    world: World
    rng: random.Random
    shots: int
    earlier: list[bytes]
    thorough: bool = False
    said: list[bytes] = field(default_factory=list)
    awaited: set[bytes] = field(default_factory=set)
    total: np.ndarray | None = None
    refusals: Counter[tuple[str, str, ErrorCode]] = field(default_factory=Counter)
    slowest_s: float = 0.0

    def target(self, message: bytes) -> tuple[str, Callable[[bytes], object]]:
        """A party to fire a message at: mostly one that takes messages of its kind."""
        kind = Envelope.read(message).kind
        if self.rng.random() < 0.2:
            kind = self.rng.choice(list(MessageKind))
        if kind not in STEPS:
            return "aggregator", self.world.aggregator.receive
        client = self.world.clients[self.rng.choice(NAMES)]
        return STEPS[kind], getattr(client, STEPS[kind])

    def say(self, messages: Messages) -> Messages:
        """Take note of honest messages that are now on their way."""
        self.said += messages.values()
        self.awaited |= set(messages.values())
        return messages

    def deliver(self, messages: Messages, *names: str) -> None:
        """Hand some clients' messages to the aggregator."""
        for name in names:
            assert self.world.aggregator.receive(messages[name]) == name
            self.awaited.discard(messages[name])

    def fire(self, state: str) -> None:
        """Fire at all parties; none of them changes."""
        self._volley(state, self.shots // 10)  # what is computed once and kept, is computed now
        before = [bytes_in(party) for party in (self.world.aggregator, *self.world.clients.values())]
        self._volley(state, self.shots - self.shots // 10)
        after = [bytes_in(party) for party in (self.world.aggregator, *self.world.clients.values())]
        assert before == after, f"a hostile message has changed something at {state}"

    def _volley(self, state: str, shots: int) -> None:
        # Before eve has sent her message of a stage, anything of the right form is taken for it, and `_forge`
        # sends the rest. So somebody outside the roster signs then.
        insiders = [self.world.identities["eve"] if "eve's" in state else ZOE]
        corpus = self.earlier + self.said
        for _ in range(shots):
            # Most of what is fired is made of what was said last.
            base = self.rng.choice(self.said[-6:] if self.said and self.rng.random() < 0.7 else corpus)
            party, target = self.target(base)
            message = hostile(base, corpus, insiders=insiders, rng=self.rng)
            if message not in self.awaited:
                self._attempt(state, party, target, message)

    def _attempt(self, state: str, party: str, target: Callable[[bytes], object], message: bytes) -> None:
        client = None if party == "aggregator" else target.__self__
        kept = client and (client._membership, client._protector, dict(client._pending))
        error, result = None, None
        start = time.thread_time()
        try:
            result = target(message)
        except ProtocolError as refusal:
            error = refusal
        except BaseException as crash:
            pytest.fail(f"{type(crash).__name__} at {state}, {party}: {message.hex()}")
        self.slowest_s = max(self.slowest_s, time.thread_time() - start)
        if error is None:
            # Noise that was changed below what matters leaves a sum that is right.
            right = isinstance(result, IntegerSum) and np.array_equal(result.values, self.total)
            assert right or message in self.said, f"accepted at {state} by {party}: {message.hex()}"
        else:
            assert error.message
            assert error.fix
            assert error.code in NAMED
            self.refusals[state, party, error.code] += 1
        if client and client._membership is not kept[0]:
            # A tampered sum has cost the set-up its keys, as it must. Here it gets them back.
            assert party == "open"
            assert error is None or error.code in AFTER_DECRYPTION
        if client and party == "open":
            client._membership, client._protector, client._pending = kept

    # One session, state by state

    def run(self, *, epoch: int) -> None:
        """From keys to an exact sum, and another one after it."""
        world, aggregator = self.world, self.world.aggregator
        vectors = make_vectors(NAMES, 1)
        place = {"stage": "train", "round_number": 5 + epoch, "slot": 1, "model_hash": MODEL}
        self.total = exact_sum(vectors, SETTINGS)
        self.fire("nothing has happened")
        ads = self.say(world.advertise(epoch=epoch))
        answers = self._stage("advertise", ads)
        answers = self._stage("share", self._heard(answers, world.share))
        answers = self._stage("agree", self._heard(answers, world.agree))
        world.accept(answers)
        self.awaited -= set(answers.values())
        self.fire("set up")
        aggregator.begin_sum(**place, settings=SETTINGS)
        self.fire("a sum has begun")
        # The list of all survivors, which anybody could write, is right from now on.
        label = Label("train", 5 + epoch, MODEL, epoch, 1)
        self.awaited.add(write_survivors(SurvivorList(world.session, b"", label, NAMES)))
        answers = self._stage("upload", self.say(world.upload(vectors, SETTINGS, **place)))
        answers = self._stage("confirm", self._heard(answers, world.confirm))
        answers = self._stage("unmask", self._heard(answers, world.unmask))
        for opened in world.open(answers).values():
            np.testing.assert_array_equal(opened.values, self.total)
        self.awaited -= set(answers.values())
        self.fire("the sum is open")
        run = world.sum(vectors, SETTINGS, round_number=100 + epoch, slot=0)
        np.testing.assert_array_equal(run.total.values, self.total)

    def _heard(self, answers: Messages, step: Callable[[Messages], Messages]) -> Messages:
        self.awaited -= set(answers.values())
        return self.say(step(answers))

    def _stage(self, stage: str, messages: Messages) -> Messages:
        """eve has sent hers, then everybody, then the answers are on their way."""
        self._flip_and_cut(f"{stage}, nobody's message is there", messages["ana"])
        self._forge(f"{stage}, nobody's message is there", messages["eve"])
        self.deliver(messages, "eve")
        self.fire(f"{stage}, eve's message is there")
        self.deliver(messages, "ana", "ben")
        answers = self.say(self.world.aggregator.answer(stage))
        self._flip_and_cut(f"{stage}, answered", answers["ben"])
        self.fire(f"{stage}, answered")
        return answers

    def _flip_and_cut(self, state: str, honest: bytes) -> None:
        """Each small damage to a message that is about to be delivered; also under a right checksum."""
        kind, front = Envelope.read(honest).kind, len(honest) - len(Envelope.read(honest).payload) - 64 + 40
        party = STEPS.get(kind, "aggregator")
        target = getattr(self.world.clients["ben"], party) if kind in STEPS else self.world.aggregator.receive
        for message in bit_flips_and_cuts(honest, front=front if self.thorough else 4):
            self._attempt(state, party, target, message)
        if kind in STEPS:
            # What an aggregator that lies can write: its checksum is no secret.
            for message in bit_flips_and_cuts(honest[:-64], front=front - 20 if self.thorough else 4):
                self._attempt(state, party, target, with_checksum(message))

    def _forge(self, state: str, honest: bytes) -> None:
        """What eve cannot send instead of her first message of a stage, although she signs it."""
        true, eve = Envelope.read(honest), self.world.identities["eve"]
        lies = [edit(true, self.rng) for edit in HEADER_EDITS for _ in range(20 if self.thorough else 2)]
        lies += [replace(true, payload=true.payload[:size]) for size in range(0, len(true.payload), 7)]
        lies += [replace(true, payload=true.payload + bytes(size)) for size in (1, 32, 64, 10**5)]
        if true.kind == MessageKind.UPLOAD:
            ones = replace(
                true, payload=true.payload[:SETTINGS_BYTES] + b"\xff" * len(true.payload[SETTINGS_BYTES:])
            )
            lies += [ones, *(wrong_settings(true, self.rng) for _ in range(50))]
        if true.kind in (MessageKind.AGREEMENT, MessageKind.CONFIRMATION):
            lies += [replace(true, payload=damaged(true.payload, self.rng)) for _ in range(50)]
        for lie in lies:
            if lie != true:
                self._attempt(state, "aggregator", self.world.aggregator.receive, lie.signed(eve))


STATES = 16
"""In which all parties are fired at."""


def recorded(identities) -> list[bytes]:
    """Every message of a whole session of the same clients."""
    world = World(dict(identities), quorum=QUORUM, slots=2)
    aggregator = world.aggregator
    heard: list[bytes] = []

    def relay(stage: str, messages: Messages) -> Messages:
        answers = aggregator.handle(stage, messages)
        heard.extend([*messages.values(), *answers.values()])
        return answers

    delivered = relay("share", world.share(relay("advertise", world.advertise())))
    world.accept(relay("agree", world.agree(delivered)))
    uploads = world.upload(make_vectors(NAMES, 1, seed=1), SETTINGS, round_number=5, slot=1)
    relay("unmask", world.unmask(relay("confirm", world.confirm(relay("upload", uploads)))))
    return heard


def with_checksum(unsealed: bytes) -> bytes:
    return (
        unsealed + hashlib.sha256(b"fedstyle-secure aggregator message 1\0" + unsealed).digest() + bytes(32)
    )


@dataclass
class Outcome:
    """What came of one siege or several; keeps nothing of the sessions.

    Attributes:
        refusals: state, party and code -> how often.
        slowest_s: the longest that a message has taken, in processor time.
    """

    refusals: Counter[tuple[str, str, ErrorCode]] = field(default_factory=Counter)
    slowest_s: float = 0.0

    def add(self, siege: Siege) -> None:
        self.refusals += siege.refusals
        self.slowest_s = max(self.slowest_s, siege.slowest_s)

    def require(self, *, shots: int) -> None:
        """Enough was refused, nothing took long, and each party in each state and each code had its turn."""
        assert self.refusals.total() > 0.9 * shots
        assert self.slowest_s < TIME_LIMIT_S
        states = {state for state, _, _ in self.refusals if "nobody's" not in state}
        assert len(states) == STATES
        for state in states:
            assert {party for at, party, _ in self.refusals if at == state} == {"aggregator", *STEPS.values()}
        by_code = Counter(code for _, _, code in self.refusals.elements())
        assert set(by_code) == NAMED, by_code


def besieged(seed: int, *, shots: int, later: bool, thorough: bool = False) -> Siege:
    """Fire at a session from its start, or (`later`) at its second set-up, with the first still in force."""
    world = World.of(NAMES, quorum=QUORUM, slots=2)
    siege = Siege(world, random.Random(seed), shots // STATES, recorded(world.identities), thorough)
    if later:
        world.set_up()
        run = world.sum(make_vectors(NAMES, 1), SETTINGS, round_number=0)
        siege.earlier += [*world.received, *(m for a in run.answers.values() for m in a.values())]
        world.aggregator.begin_setup(1)
    siege.run(epoch=int(later))
    return siege


def test_some_thousand_hostile_messages_are_refused_by_name() -> None:
    outcome = Outcome()
    for later in (False, True):
        outcome.add(besieged(1, shots=4000, later=later))
    outcome.require(shots=8000)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_hundred_thousand_hostile_messages_are_refused_and_leave_nothing_behind() -> None:
    outcome, memory, files = Outcome(), 0, 0
    for seed in range(8):
        outcome.add(besieged(100 + seed, shots=12_500, later=seed % 2 == 1, thorough=True))
        gc.collect()
        if seed == 1:
            memory, files = resident_bytes(), open_files()
    assert resident_bytes() - memory < 16 * 2**20
    assert open_files() <= files
    outcome.require(shots=100_000)


# Clients of the roster who have no part in a sum


def test_clients_without_a_part_in_it_are_refused_although_they_sign() -> None:
    """eve has not shared; ben has, and has not uploaded. The quorum stands without either."""
    names = (*NAMES, "cem", "dia")
    world = World.of(names, slots=2)
    advertised = world.handle("advertise", world.advertise())
    shares = world.share({name: answer for name, answer in advertised.items() if name != "eve"})
    deliveries = world.handle("share", shares)

    def posing(message: bytes, name: str) -> bytes:
        envelope = replace(Envelope.read(message), sender=name.encode())
        return envelope.signed(world.identities[name])

    def is_out(messages: Messages, *outsiders: str) -> None:
        for name in outsiders:
            code = refused(world.aggregator.receive, posing(messages["ana"], name))
            assert code in (ErrorCode.SURVIVORS_INCONSISTENT, ErrorCode.MESSAGE_UNEXPECTED)

    agreements = world.agree(deliveries)
    is_out(agreements, "eve")
    world.accept(world.handle("agree", agreements))
    vectors, settings = make_vectors(names, 3), make_settings(3, cohort_cap=5)
    uploads = world.upload({name: vectors[name] for name in ("ana", "cem", "dia")}, settings)
    world.aggregator.receive(uploads["ana"])
    is_out(uploads, "eve")
    confirmations = world.confirm(world.handle("upload", uploads))
    is_out(confirmations, "eve", "ben")
    unmaskings = world.unmask(world.handle("confirm", confirmations))
    is_out(unmaskings, "eve", "ben")
    for opened in world.open(world.handle("unmask", unmaskings)).values():
        np.testing.assert_array_equal(opened.values, exact_sum(vectors, settings, uploads))


# Sums, whose content nobody signs


def test_a_changed_sum_is_refused_or_right() -> None:
    """Noise that was changed below what matters leaves the sum as it is; anything more costs the set-up."""
    world = World.of(NAMES, quorum=QUORUM, slots=2).set_up()
    vectors, settings = make_vectors(NAMES, 500), make_settings(500, cohort_cap=3)
    run = world.sum(vectors, settings, silent={"open": NAMES})
    message, expected = run.answers["unmask"]["ana"], exact_sum(vectors, settings)
    ana, rng, codes = world.clients["ana"], random.Random(5), Counter()
    whole = Envelope.read(message)
    for _ in range(400):
        body = whole.payload[20:]
        changed = body
        for _ in range(rng.choice([1, 1, 3])):
            at = rng.randrange(len(body))
            byte = rng.choice([0, 255, changed[at] ^ 1 << rng.randrange(8)])
            changed = changed[:at] + bytes([byte]) + changed[at + 1 :]
        kept = ana._membership, ana._protector, dict(ana._pending)
        try:
            opened = ana.open(replace(whole, payload=whole.payload[:20] + changed).checked())
        except ProtocolError as error:
            codes[error.code] += 1
            assert ana._membership is None
        else:
            codes["right"] += 1
            np.testing.assert_array_equal(opened.values, expected)
        ana._membership, ana._protector, ana._pending = kept
    assert set(codes) == {*AFTER_DECRYPTION, "right"}, codes


# What is too large


def test_giant_messages_are_refused_in_time() -> None:
    """Most by their length alone; an upload of the largest size that could be one is read as a whole."""
    world = World.of(NAMES, quorum=QUORUM, slots=2)
    world.aggregator = world.make_aggregator(longest_vector=2**20)
    world.set_up()
    place = {"stage": "train", "round_number": 1, "slot": 1, "model_hash": MODEL}
    vectors = make_vectors(NAMES, 1)
    uploads = world.upload(vectors, SETTINGS)
    world.aggregator.begin_sum(**place, settings=SETTINGS)
    largest = make_settings(2**20, value_bits=24, cohort_cap=3)
    true, eve = Envelope.read(uploads["eve"]), world.identities["eve"]
    head = largest.to_bytes()
    fits = replace(true, payload=head + bytes(upload_bytes(largest) - len(head)))
    refusals = [
        (world.aggregator.receive, fits.signed(eve), ErrorCode.MESSAGE_UNEXPECTED),
        (world.aggregator.receive, fits.unsealed() + bytes(64), ErrorCode.SIGNATURE_INVALID),
        (world.aggregator.receive, replace(fits, size=2**63).signed(eve), ErrorCode.MESSAGE_MALFORMED),
        (world.aggregator.receive, bytes(50 * 2**20), ErrorCode.MESSAGE_MALFORMED),
    ]
    for step in STEPS.values():
        for client in world.clients.values():
            refusals.append((getattr(client, step), uploads["eve"] + bytes(50 * 2**20), None))
    for read, message, code in refusals:
        start = time.thread_time()
        found = refused(read, message)
        assert time.thread_time() - start < TIME_LIMIT_S
        assert code in (None, found)
        assert found in (ErrorCode.MESSAGE_MALFORMED, ErrorCode.STAGE_OUT_OF_ORDER) or code
    run = world.finish(uploads)
    np.testing.assert_array_equal(run.total.values, exact_sum(vectors, SETTINGS))


# SEAL, which has had memory-safety bugs in its parser


def test_seal_never_sees_bytes_that_fail_the_checks(monkeypatch) -> None:
    """Whatever eve signs but one upload of the right form, SEAL is given nothing of it."""
    world = World.of(NAMES, quorum=QUORUM, slots=2).set_up()
    uploads = world.upload(make_vectors(NAMES, 1), SETTINGS)
    place = {"stage": "train", "round_number": 1, "slot": 1, "model_hash": MODEL}
    world.aggregator.begin_sum(**place, settings=SETTINGS)
    monkeypatch.setattr(BlockSum, "add", lambda *_: pytest.fail("SEAL was given a hostile message"))
    true, rng, eve = Envelope.read(uploads["eve"]), random.Random(3), world.identities["eve"]
    for _ in range(500):
        lies = [
            rng.choice(HEADER_EDITS)(true, rng).signed(eve),
            wrong_settings(true, rng).signed(eve),
            replace(true, payload=damaged(true.payload, rng)).signed(world.identities["ben"]),
            replace(true, payload=true.payload[: rng.randrange(len(true.payload))]).signed(eve),
            damaged(uploads["eve"], rng),
        ]
        for lie in lies:
            if lie != uploads["eve"]:
                assert refused(world.aggregator.receive, lie) in NAMED
    with pytest.raises(pytest.fail.Exception):
        world.aggregator.receive(uploads["eve"])
