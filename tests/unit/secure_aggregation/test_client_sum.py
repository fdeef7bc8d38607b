"""What a client makes of the messages about a sum that it has uploaded for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.client_sets import write_clients
from fedstyle_secure.secure_aggregation.protection import Protector
from fedstyle_secure.secure_aggregation.sum_messages import SurvivorList, write_survivors
from fedstyle_secure.secure_aggregation.wire import MessageKind, write_as_aggregator
from tests.secure_sums import World, exact_sum, make_settings, make_vectors, make_world

FIVE = ("ana", "ben", "cem", "dia", "eli")


def refusal(call, *arguments, error: type = ProtocolError, **keywords):
    with pytest.raises(error) as caught:
        call(*arguments, **keywords)
    return caught.value


@pytest.fixture
def five() -> World:
    """Five clients of whom three are enough, ready for uploads."""
    return make_world(FIVE, slots=4).set_up()


def settings_of_five(length: int = 60):
    return make_settings(length, cohort_cap=5)


# Confirming and unmasking


@pytest.fixture
def uploaded(five: World) -> tuple[World, dict[str, bytes]]:
    """Four of five have uploaded; the survivor list for each."""
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    return five, five.handle("upload", five.upload({name: v[name] for name in FIVE[:4]}, s))


def list_of(world: World, clients, **changes) -> SurvivorList:
    """A survivor list as an aggregator could make it up."""
    current = world.aggregator._sum._agreed()
    return replace(current, clients=tuple(clients), **changes)


def test_a_client_confirms_again_what_it_has_confirmed_and_nothing_else(uploaded) -> None:
    world, answers = uploaded
    ana = world.clients["ana"]
    signed = ana.confirm(answers["ana"])
    assert ana.confirm(answers["ana"]) == signed
    for clients in (FIVE[:3], FIVE, ("ana", "cem", "dia")):
        error = refusal(ana.confirm, write_survivors(list_of(world, clients)))
        assert error.code is ErrorCode.SURVIVORS_INCONSISTENT
        assert "ana is shown two survivor lists for train, round 1" in error.message
    assert ana.confirm(answers["ana"]) == signed


def test_a_client_that_is_left_out_does_not_confirm(uploaded) -> None:
    world, answers = uploaded
    for name in ("ana", "dia"):
        without = [other for other in FIVE[:4] if other != name]
        error = refusal(world.clients[name].confirm, write_survivors(list_of(world, without)))
        assert error.code is ErrorCode.SURVIVORS_INCONSISTENT
        assert f"leaves out {name}, who has uploaded" in error.message
        world.clients[name].confirm(answers[name])


def test_too_few_survivors_are_not_confirmed(uploaded) -> None:
    world, _ = uploaded
    error = refusal(world.clients["ana"].confirm, write_survivors(list_of(world, ("ana", "dia"))))
    assert error.code is ErrorCode.COHORT_INCOMPLETE
    assert error.message.endswith("ben, cem, eli did not")


def test_a_survivor_who_has_not_finished_the_set_up_is_not_confirmed() -> None:
    world = make_world(FIVE).set_up(silent={"share": ["eli"]})
    v, s = make_vectors(FIVE[:4], 10), settings_of_five(10)
    world.handle("upload", world.upload(v, s))
    error = refusal(world.clients["ana"].confirm, write_survivors(list_of(world, FIVE)))
    assert error.code is ErrorCode.SURVIVORS_INCONSISTENT
    assert "who has not finished the set-up" in error.message


def test_a_survivor_list_for_another_sum_is_refused(uploaded) -> None:
    world, answers = uploaded
    ana, label = world.clients["ana"], list_of(world, FIVE).label
    for change, reason in (
        ({"round_number": 2}, "ana has not uploaded for train, round 2"),
        ({"stage": "centre"}, "ana has not uploaded for centre, round 1"),
        ({"model_hash": b"n" * 32}, "another model, set-up or slot"),
        ({"slot": 0}, "another model, set-up or slot"),
        ({"epoch": 1}, "another model, set-up or slot"),
    ):
        other = list_of(world, FIVE[:4], label=replace(label, **change))
        error = refusal(ana.confirm, write_survivors(other))
        assert error.code is ErrorCode.MESSAGE_UNEXPECTED
        assert reason in error.message
    ana.confirm(answers["ana"])


def test_a_client_that_has_not_uploaded_confirms_and_unmasks_nothing(uploaded) -> None:
    world, answers = uploaded
    eli = world.clients["eli"]
    assert refusal(eli.confirm, answers["ana"]).code is ErrorCode.MESSAGE_UNEXPECTED
    confirmed = world.handle("confirm", world.confirm(answers))
    error = refusal(eli.unmask, confirmed["ana"])
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "eli has not uploaded for train, round 1" in error.message


def test_nobody_unmasks_what_it_has_not_confirmed(uploaded) -> None:
    world, answers = uploaded
    confirmed = world.handle("confirm", world.confirm({n: answers[n] for n in FIVE[:3]}))
    error = refusal(world.clients["dia"].unmask, confirmed["dia"])
    assert error.code is ErrorCode.STAGE_OUT_OF_ORDER
    assert "who is in the sum of train, round 1" in error.message
    world.clients["dia"].confirm(answers["dia"])
    world.clients["dia"].unmask(confirmed["dia"])


def test_a_client_unmasks_the_same_again(uploaded) -> None:
    world, answers = uploaded
    confirmed = world.handle("confirm", world.confirm(answers))
    ana = world.clients["ana"]
    assert ana.unmask(confirmed["ana"]) == ana.unmask(confirmed["ana"])


def test_nothing_is_revealed_for_too_few_signatures_or_those_under_another_list(uploaded) -> None:
    world, answers = uploaded
    ana = world.clients["ana"]
    world.confirm(answers)
    right, other = list_of(world, FIVE[:4]), list_of(world, ("ana", "ben", "cem"))

    def signatures(survivors: SurvivorList, names) -> dict[str, bytes]:
        return {n: survivors.statement.sign(world.identities[n])[-64:] for n in names}

    before = {name: shares.copy() for name, shares in ana._membership.held.shares.items()}

    def relayed(collected: dict[str, bytes]) -> bytes:
        ordered = [collected[name] for name in FIVE if name in collected]
        return write_as_aggregator(
            MessageKind.CONFIRMATIONS,
            [write_clients(world.session, collected), *ordered],
            session=world.session,
            label=right.label,
        )

    for collected, code in (
        (signatures(right, ("ana", "ben")), ErrorCode.COHORT_INCOMPLETE),
        (signatures(other, ("ana", "ben", "cem")), ErrorCode.SIGNATURE_INVALID),
        (signatures(right, ("ana", "ben")) | signatures(other, ("cem",)), ErrorCode.SIGNATURE_INVALID),
        (signatures(right, ("ana", "ben", "eli")), ErrorCode.SURVIVORS_INCONSISTENT),
    ):
        assert refusal(ana.unmask, relayed(collected)).code is code
    for name, shares in ana._membership.held.shares.items():
        np.testing.assert_array_equal(shares, before[name])
    ana.unmask(relayed(signatures(right, ("ana", "ben", "dia"))))


# Opening


def test_a_sum_is_opened_once(world, settings, vectors) -> None:
    run = world.sum(vectors(world.clients, 10), settings(10))
    answers = run.answers
    error = refusal(world.clients["ana"].open, answers["unmask"]["ana"])
    assert error.code is ErrorCode.MESSAGE_REPLAYED
    # What led to it is over too.
    for call in (world.clients["ana"].confirm, world.clients["ana"].unmask):
        stage = "upload" if call == world.clients["ana"].confirm else "confirm"
        assert refusal(call, answers[stage]["ana"]).code is ErrorCode.MESSAGE_REPLAYED


def test_a_sum_for_which_nothing_was_uploaded_is_refused(five: World) -> None:
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    five.sum(v, s, round_number=1)
    run = five.sum(v, s, round_number=2, silent={"upload": ["eli"]})
    error = refusal(five.clients["eli"].open, run.answers["unmask"]["ana"])
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "eli has not uploaded for train, round 2" in error.message


def test_the_sum_of_others_than_were_confirmed_is_refused_without_the_key(five: World) -> None:
    """The sum stays awaited: nothing was decrypted."""
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    run = five.sum(v, s, silent={"upload": ["eli"], "open": FIVE})
    answer, ana = run.answers["unmask"]["ana"], five.clients["ana"]
    pending = ana._pending["train", 1]
    confirmed = pending._confirmed
    pending._confirmed = replace(confirmed, clients=("ana", "ben", "cem"))
    error = refusal(ana.open, answer)
    assert error.code is ErrorCode.SURVIVORS_INCONSISTENT
    pending._confirmed = confirmed
    np.testing.assert_array_equal(ana.open(answer).values, exact_sum(v, s, FIVE[:4]))


def test_a_sum_is_opened_by_who_never_confirmed_if_it_would_have(five: World) -> None:
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    run = five.sum(v, s, silent={"confirm": ["ana"]})
    assert "ana" not in run.sent["confirm"]
    np.testing.assert_array_equal(
        five.open({"ana": run.answers["unmask"]["ana"]})["ana"].values, exact_sum(v, s)
    )


@pytest.fixture
def spoilt(five: World) -> tuple[World, bytes]:
    """A world in which ana awaits two sums, and the first of them does not add up for it."""
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    five.sum(v, s, round_number=2, silent={"open": ["ana"]})
    run = five.sum(v, s, round_number=1, silent={"open": FIVE})
    five.clients["ana"]._pending["train", 1]._protector._group_secret = b"x" * 32
    return five, run.answers["unmask"]["ana"]


def test_a_sum_that_does_not_add_up_costs_its_client_the_keys_of_the_set_up(spoilt) -> None:
    world, answer = spoilt
    ana, s, v = world.clients["ana"], settings_of_five(), make_vectors(FIVE, 60)
    assert refusal(ana.open, answer).code is ErrorCode.SUM_MISMATCH
    # Neither this sum nor another one of the same set-up is opened, whatever the aggregator sends.
    for _ in range(2):
        error = refusal(ana.open, answer)
        assert error.code is ErrorCode.NO_DECRYPTION_KEY
        assert "had to drop it" in error.message
    assert refusal(world.upload, v, s, round_number=3).code is ErrorCode.STAGE_OUT_OF_ORDER
    np.testing.assert_array_equal(world.open({"ben": answer})["ben"].values, exact_sum(v, s))


def test_a_client_without_keys_helps_with_none_of_its_sums(spoilt) -> None:
    world, answer = spoilt
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    survivors = world.handle("upload", world.upload(v, s, round_number=3))
    refusal(world.clients["ana"].open, answer)
    error = refusal(world.clients["ana"].confirm, survivors["ana"])
    assert error.code is ErrorCode.MESSAGE_REPLAYED
    assert "its keys were dropped" in error.message


def test_keys_of_another_set_up_outlive_a_sum_that_does_not_add_up(spoilt) -> None:
    world, answer = spoilt
    ana, s, v = world.clients["ana"], settings_of_five(), make_vectors(FIVE, 60)
    world.set_up(epoch=1)
    awaited = world.sum(v, s, round_number=3, silent={"open": ["ana"]})
    assert refusal(ana.open, answer).code is ErrorCode.SUM_MISMATCH
    opened = ana.open(awaited.answers["unmask"]["ana"])
    np.testing.assert_array_equal(opened.values, exact_sum(v, s))
    np.testing.assert_array_equal(world.sum(v, s, round_number=0).total.values, exact_sum(v, s))


def test_a_new_set_up_brings_a_client_without_keys_back(spoilt) -> None:
    world, answer = spoilt
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    refusal(world.clients["ana"].open, answer)
    world.set_up(epoch=1)
    np.testing.assert_array_equal(world.sum(v, s, round_number=3).total.values, exact_sum(v, s))


def test_whatever_ends_a_decryption_the_key_has_answered_once(five: World, monkeypatch) -> None:
    run = five.sum(make_vectors(FIVE, 60), settings_of_five(), silent={"open": ["ana"]})
    ana = five.clients["ana"]
    monkeypatch.setattr(Protector, "open", lambda *arguments, **keywords: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ana.open(run.answers["unmask"]["ana"])
    monkeypatch.undo()
    assert refusal(ana.open, run.answers["unmask"]["ana"]).code is ErrorCode.NO_DECRYPTION_KEY


def test_a_refusal_before_decryption_costs_nothing(five: World) -> None:
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    run = five.sum(v, s, silent={"open": ["ana"]})
    answer, ana = run.answers["unmask"]["ana"], five.clients["ana"]
    for wrong in (b"", answer[:-1], answer[:200] + b"?" + answer[201:], run.answers["confirm"]["ana"]):
        assert refusal(ana.open, wrong).code in {ErrorCode.MESSAGE_MALFORMED, ErrorCode.MESSAGE_UNEXPECTED}
    np.testing.assert_array_equal(ana.open(answer).values, exact_sum(v, s))


def test_the_shares_of_a_sum_that_is_open_are_forgotten(five: World) -> None:
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    late = five.clients["ana"]
    run = five.sum(v, s, slot=1, round_number=1, silent={"confirm": ["ana"]})
    assert all(shares[1].any() for shares in late._membership.held.shares.values())
    late.open(run.answers["unmask"]["ana"])
    for shares in late._membership.held.shares.values():
        assert not shares[1].any()
        assert shares[[0, 2, 3]].any(axis=2).all()
