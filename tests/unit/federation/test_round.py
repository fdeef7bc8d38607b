"""One exchange over transports that lose messages, and the set-up before it."""

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.federation import session as session_module
from fedstyle_secure.federation.global_state import GlobalState
from fedstyle_secure.federation.round import run_exchange, set_up_secure_sums
from fedstyle_secure.federation.run_plan import Exchange, Stage, plan_run
from fedstyle_secure.federation.transcript import PLATFORM, Transcript
from fedstyle_secure.privacy.noise import NoNoise

CENTRE = Exchange(Stage.CENTRE)
NAMES = [f"artist-{place}" for place in range(4)]
STAGES_OF_A_SET_UP = ["advertise", "share", "agree"]
STAGES_OF_A_SUM = ["upload", "confirm", "unmask"]


class LossyTransport:
    """Loses the messages of some artists at some stages."""

    def __init__(self, transport, lost):
        self._transport, self._lost = transport, lost

    def exchange(self, stage, messages):
        lost = self._lost.get(stage, ())
        return self._transport.exchange(stage, {a: m for a, m in messages.items() if a not in lost})


class Party:
    """Four artists of whom three are enough, and all that an exchange needs."""

    def __init__(self, plan, works, lost):
        self.plan = plan
        self.transcript = Transcript()
        self.artists, transport = session_module._assemble(plan, works, [], NoNoise, self.transcript)
        self.transport = LossyTransport(transport, lost)
        self.releases = {}

    def set_up(self, *, epoch=0):
        set_up_secure_sums(self.artists, self.transport, epoch=epoch)

    def run(self, exchange=CENTRE, *, slot=0):
        state = GlobalState.initial(self.plan)
        return run_exchange(exchange, self.artists, state, self.transport, self, slot=slot)

    def keep(self, exchange, draw):
        """The journal's part: remembers what was released last."""
        self.releases = draw()
        return self.releases


@pytest.fixture
def party(policy, features):
    """Make a party; keyword arguments say whose message of a stage is lost."""
    works = features()
    plan = plan_run(policy(), list(works), public_model="test")
    return lambda **lost: Party(plan, works, lost)


@pytest.mark.parametrize("lost", [{}, {"upload": NAMES[:1]}, {"confirm": NAMES[1:2]}, {"unmask": NAMES[3:]}])
def test_the_total_is_that_of_all_whose_upload_arrived(party, lost):
    exchanging = party(**lost)
    exchanging.set_up()
    total = exchanging.run().total
    step = exchanging.plan.sum_settings(Stage.CENTRE).value_limit / (2**15 - 1)
    there = [release for name, release in exchanging.releases.items() if name not in lost.get("upload", ())]
    np.testing.assert_allclose(total, np.sum(there, axis=0), atol=len(there) * step)
    missing = [release for name, release in exchanging.releases.items() if name in lost.get("upload", ())]
    assert all(np.abs(release).max() > 100 * step for release in missing)


@pytest.mark.parametrize("stage", STAGES_OF_A_SUM)
def test_too_few_messages_of_a_stage_stop_the_exchange_by_name(party, stage):
    exchanging = party(**{stage: NAMES[:2]})
    exchanging.set_up()
    with pytest.raises(ProtocolError) as refused:
        exchanging.run()
    assert refused.value.code is ErrorCode.COHORT_INCOMPLETE
    assert refused.value.message.endswith("and 3 are needed; artist-0, artist-1 did not")


def test_every_message_of_a_sum_is_counted_up_and_down(party):
    exchanging = party()
    exchanging.set_up()
    outcome = exchanging.run()
    messages = [m for m in exchanging.transcript.messages if m.stage in STAGES_OF_A_SUM]
    assert len(messages) == len(STAGES_OF_A_SUM) * len(NAMES) * 2
    for name in NAMES:
        up = [m.size_bytes for m in messages if (m.sender, m.recipient) == (name, PLATFORM)]
        down = [m.size_bytes for m in messages if (m.sender, m.recipient) == (PLATFORM, name)]
        assert outcome.bytes_up[name] == sum(up) > 0
        assert outcome.bytes_down[name] == sum(down) > 0
    assert set(outcome.bytes_up) == set(outcome.bytes_down) == set(NAMES)
    assert set(outcome.seconds) == {"release", "protect", "aggregate", "agree", "unmask", "open"}


def test_a_set_up_and_a_sum_are_three_stages_each(party):
    exchanging = party()
    exchanging.set_up()
    exchanging.run()
    stages = dict.fromkeys(message.stage for message in exchanging.transcript.messages)
    assert list(stages) == STAGES_OF_A_SET_UP + STAGES_OF_A_SUM


def test_without_a_set_up_nothing_is_sent(party):
    exchanging = party()
    with pytest.raises(ProtocolError) as refused:
        exchanging.run()
    assert refused.value.code is ErrorCode.STAGE_OUT_OF_ORDER
    assert exchanging.transcript.messages == ()


def test_a_slot_serves_one_exchange_and_a_new_set_up_frees_it(party):
    exchanging = party()
    exchanging.set_up()
    exchanging.run(slot=3)
    with pytest.raises(ProtocolError) as refused:
        exchanging.run(Exchange(Stage.ANCHORS), slot=3)
    assert refused.value.code is ErrorCode.MASK_REUSED
    exchanging.set_up(epoch=1)
    exchanging.run(Exchange(Stage.REPRESENT), slot=3)
