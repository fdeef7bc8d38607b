"""What it costs a client to refuse a sum or to open one: however that ends, the key has answered once."""

from __future__ import annotations

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode
from fedstyle_secure.secure_aggregation.tags import LinearTags
from fedstyle_secure.secure_aggregation.wire import Label
from tests.lying_sums import (
    LAYOUT,
    NAMES,
    OTHERS,
    SETTINGS,
    Attack,
)
from tests.secure_attacks import refused
from tests.secure_sums import MODEL, exact_sum


def the_keys_are_gone(attack: Attack) -> None:
    """Nobody opens or uploads anything under the set-up; a new one works."""
    assert attack.everybody_refuses(attack.message(attack.total())) is ErrorCode.NO_DECRYPTION_KEY
    for name, vector in attack.vectors.items():
        code = refused(lambda only: attack.world.upload(only, SETTINGS, round_number=3), {name: vector})
        assert code is ErrorCode.STAGE_OUT_OF_ORDER
    attack.world.set_up(epoch=1)
    assert attack.everybody_refuses(attack.message(attack.total())) is ErrorCode.MESSAGE_REPLAYED
    run = attack.world.sum(attack.vectors, SETTINGS, round_number=3)
    np.testing.assert_array_equal(run.total.values, exact_sum(attack.vectors, SETTINGS))


def test_a_sum_that_does_not_add_up_costs_the_set_up(attack: Attack) -> None:
    """One answer to a tampered ciphertext tells a little about the key; a second one is never given."""
    assert attack.everybody_refuses(attack.message(attack.total(["ana"]))) is ErrorCode.SUM_MISMATCH
    the_keys_are_gone(attack)


def test_a_damaged_block_does_not_buy_a_second_answer(attack: Attack) -> None:
    """A right first block and an impossible second one: the first has been decrypted."""
    total = attack.total()
    total[1].c0[0, 0] = 2**LAYOUT.parameters.c0_bits - 1
    assert attack.everybody_refuses(attack.message(total)) is ErrorCode.MESSAGE_MALFORMED
    the_keys_are_gone(attack)


@pytest.mark.parametrize("failure", [RuntimeError, MemoryError, KeyboardInterrupt])
def test_nothing_that_ends_a_decryption_buys_a_second_answer(attack: Attack, monkeypatch, failure) -> None:
    """Not only what the protocol foresees: an aggregator may find what this code does not."""

    def fail(*_: object, **__: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(LinearTags, "require", fail)
        for client in attack.world.clients.values():
            with pytest.raises(failure):
                client.open(attack.message(attack.total()))
    the_keys_are_gone(attack)


def test_all_sums_of_a_set_up_lose_their_keys_together(attack: Attack) -> None:
    """A sum that is awaited meanwhile is not opened either, nor unmasked; one of another set-up is."""
    world = attack.world
    listed = world.handle("upload", world.upload(attack.vectors, SETTINGS, round_number=3))
    signed = world.handle("confirm", world.confirm(listed))
    assert attack.everybody_refuses(attack.message(attack.total(["ana"]))) is ErrorCode.SUM_MISMATCH
    for client in world.clients.values():
        assert refused(client.unmask, signed["ana"]) is ErrorCode.MESSAGE_REPLAYED
        assert refused(client.confirm, listed["ana"]) is ErrorCode.MESSAGE_REPLAYED
    world.aggregator.abandon_sum()
    world.set_up(epoch=1)
    run = world.sum(attack.vectors, SETTINGS, round_number=4, slot=0)
    np.testing.assert_array_equal(run.total.values, exact_sum(attack.vectors, SETTINGS))


def test_an_awaited_sum_survives_a_new_set_up_and_its_failure(attack: Attack) -> None:
    """The sum of the old set-up stays open while one of the new set-up turns out to be a lie."""
    world = attack.world.set_up(epoch=1)
    world.sum(attack.vectors, SETTINGS, round_number=3, silent={"open": NAMES})
    lie = attack.message(attack.total(["ana"]), label=Label("train", 3, MODEL, 1, 3))
    assert attack.everybody_refuses(lie) is ErrorCode.SUM_MISMATCH
    attack.everybody_opens(attack.message(attack.total()))


def test_refusals_that_need_no_key_leave_the_sum_awaited(attack: Attack) -> None:
    left_out = attack.message(attack.total(), contributed=OTHERS)
    assert attack.everybody_refuses(left_out, OTHERS) is ErrorCode.SURVIVORS_INCONSISTENT
    assert attack.everybody_refuses(b"nonsense") is ErrorCode.MESSAGE_MALFORMED
    attack.everybody_opens(attack.message(attack.total()))


def test_a_sum_is_opened_once(attack: Attack) -> None:
    message = attack.message(attack.total())
    attack.everybody_opens(message)
    assert attack.everybody_refuses(message) is ErrorCode.MESSAGE_REPLAYED
    assert attack.everybody_refuses(attack.message(attack.total(["ana"]))) is ErrorCode.MESSAGE_REPLAYED
