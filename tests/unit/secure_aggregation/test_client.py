from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError, SetupError, UsageError
from fedstyle_secure.secure_aggregation.client import SumClient
from fedstyle_secure.secure_aggregation.encoding import NearestRounding, SystemRounding, decode
from fedstyle_secure.secure_aggregation.keys import Identity
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.setup_messages import write_advertisements
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate
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


# Sums


def test_all_clients_open_the_same_sum(world, settings, vectors) -> None:
    s, v = settings(5000), vectors(world.clients, 5000)
    run = world.sum(v, s)
    assert set(run.opened) == set(world.clients)
    np.testing.assert_array_equal(run.total.values, exact_sum(v, s))
    assert run.total.clients == 3
    np.testing.assert_allclose(decode(run.total, s), sum(v.values()), atol=3 / s.steps_per_unit)


@pytest.mark.parametrize(
    ("silent", "summed", "opened"),
    [
        ({"upload": ["ana"]}, "ben cem dia eli", "ben cem dia eli"),
        ({"upload": ["ana", "eli"]}, "ben cem dia", "ben cem dia"),
        ({"confirm": ["ana", "eli"]}, "ana ben cem dia eli", "ben cem dia"),
        ({"unmask": ["ben", "cem"]}, "ana ben cem dia eli", "ana dia eli"),
        ({"open": ["ana", "ben", "cem", "dia"]}, "ana ben cem dia eli", "eli"),
        ({"upload": ["cem"], "confirm": ["ana"]}, "ana ben dia eli", "ben dia eli"),
        ({"confirm": ["dia"], "unmask": ["ben"]}, "ana ben cem dia eli", "ana cem eli"),
    ],
)
def test_who_falls_silent_is_left_out_or_recovered(five: World, silent, summed: str, opened: str) -> None:
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    run = five.sum(v, s, silent=silent)
    assert list(run.opened) == opened.split()
    assert run.total.clients == len(summed.split())
    np.testing.assert_array_equal(run.total.values, exact_sum(v, s, summed.split()))


@pytest.mark.parametrize(
    "lost",
    [
        {"upload": ["ana"]},
        {"confirm": ["ana", "ben"]},
        {"unmask": ["dia", "eli"]},
        {"upload": ["ben"], "confirm": ["cem"], "unmask": ["dia"]},
    ],
)
def test_messages_that_are_lost_are_made_up_for(five: World, lost) -> None:
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    run = five.sum(v, s, lost=lost)
    there = [name for name in FIVE if name not in lost.get("upload", ())]
    assert list(run.opened) == there
    np.testing.assert_array_equal(run.total.values, exact_sum(v, s, there))


def test_one_more_silent_client_than_the_threshold_allows_and_nothing_opens(five: World) -> None:
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    for slot, (stage, what) in enumerate(
        [("upload", "the sum of train"), ("confirm", "confirming who is in"), ("unmask", "unmasking the sum")]
    ):
        error = refusal(five.sum, v, s, slot=slot, round_number=slot, silent={stage: ["ana", "cem", "eli"]})
        assert error.code is ErrorCode.COHORT_INCOMPLETE
        assert f"2 clients took part in {what}" in error.message
        assert error.message.endswith("and 3 are needed; ana, cem, eli did not")
        five.aggregator.abandon_sum()


@pytest.mark.parametrize(
    ("clients", "quorum", "threshold"),
    [
        (2, Quorum(minimum=2, colluding=0), 2),
        (3, Quorum(minimum=2, colluding=1), 3),
        (4, Quorum(minimum=2, colluding=0), 3),
        (6, Quorum(minimum=5, colluding=0), 5),
        (7, Quorum(minimum=3, colluding=2), 5),
    ],
)
def test_the_threshold_is_exact_in_every_stage(clients: int, quorum: Quorum, threshold: int) -> None:
    names = [f"c{place}" for place in range(clients)]
    world = make_world(names, quorum=quorum, slots=8).set_up()
    assert world.threshold == threshold
    s, v = make_settings(20, cohort_cap=clients), make_vectors(names, 20)
    spare = clients - threshold
    for slot, stage in enumerate(("upload", "confirm", "unmask")):
        enough, too_few = {stage: names[:spare]}, {stage: names[: spare + 1]}
        run = world.sum(v, s, slot=2 * slot, round_number=2 * slot, silent=enough)
        there = names[spare:] if stage == "upload" else names
        np.testing.assert_array_equal(run.total.values, exact_sum(v, s, there))
        error = refusal(world.sum, v, s, slot=2 * slot + 1, round_number=2 * slot + 1, silent=too_few)
        assert error.code is ErrorCode.COHORT_INCOMPLETE
        world.aggregator.abandon_sum()


def test_who_misses_a_sum_takes_part_in_the_next(five: World) -> None:
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    for slot, silent in enumerate([{"upload": ["ana"]}, {"confirm": ["ana"]}, {"unmask": ["ana"]}, {}]):
        run = five.sum(v, s, slot=slot, round_number=slot, silent=silent)
        there = FIVE[1:] if "upload" in silent else FIVE
        np.testing.assert_array_equal(run.total.values, exact_sum(v, s, there))
        assert ("ana" in run.opened) == (not silent)


def test_who_is_late_may_still_open_a_sum(five: World) -> None:
    s, v = settings_of_five(), make_vectors(FIVE, 60)
    run = five.sum(v, s, silent={"confirm": ["ana"]})
    np.testing.assert_array_equal(
        five.clients["ana"].open(run.answers["unmask"]["ana"]).values, run.total.values
    )


def test_sums_may_come_back_in_any_order(world, settings, vectors) -> None:
    s, ana = settings(10), world.clients["ana"]
    expected, sums = {}, {}
    for round_number in range(3):
        v = vectors(world.clients, 10, seed=round_number)
        expected[round_number] = exact_sum(v, s)
        run = world.sum(v, s, round_number=round_number, silent={"open": ["ana"]})
        sums[round_number] = run.answers["unmask"]["ana"]
    for round_number in (1, 2, 0):
        np.testing.assert_array_equal(ana.open(sums[round_number]).values, expected[round_number])


def test_sums_of_different_shapes_share_a_session(world, settings, vectors) -> None:
    for slot, s in enumerate((settings(65), settings(4096, value_bits=24, cohort_cap=64))):
        v = vectors(world.clients, s.length)
        run = world.sum(v, s, stage=f"stage-{slot}", slot=slot)
        np.testing.assert_array_equal(run.total.values, exact_sum(v, s))


def test_a_long_sum_may_be_opened_after_a_short_one_was_uploaded(world, settings, vectors) -> None:
    long, short = settings(9000), settings(10)
    v = vectors(world.clients, 9000)
    answers = world.sum(v, long, round_number=1, silent={"open": world.clients}).answers
    world.upload(vectors(world.clients, 10), short, round_number=2)
    np.testing.assert_array_equal(world.open(answers["unmask"])["ben"].values, exact_sum(v, long))


def test_clients_that_round_to_the_nearest_open_the_same_sum_in_every_session(settings, vectors) -> None:
    s, v = settings(50), vectors(("ana", "ben", "cem"), 50)
    sums = [
        make_world(rounding=rounding()).set_up().sum(v, s).total.values.tolist()
        for rounding in (NearestRounding, NearestRounding, SystemRounding, SystemRounding)
    ]
    assert sums[0] == sums[1]
    assert sums[2] != sums[3]


def test_a_client_rounds_at_random_unless_told_otherwise(world, settings) -> None:
    client = SumClient(
        identity=world.identities["ana"],
        roster=world.roster,
        session_id=world.session_id,
        policy_hash=world.policy_hash,
        quorum=world.quorum,
    )
    assert isinstance(client._rounding, SystemRounding)


def test_a_float32_vector_needs_no_float64_copy(world, settings) -> None:
    s = settings(10)
    v = {name: np.linspace(-1, 1, 10, dtype=np.float32) for name in world.clients}
    total = decode(world.sum(v, s).total, s)
    np.testing.assert_allclose(total, 3 * np.linspace(-1, 1, 10), atol=3.1 / s.steps_per_unit)
    assert ClippedUpdate(v["ana"]).values is v["ana"]


# What may be uploaded


def test_a_place_and_a_slot_are_used_once_whatever_comes_of_them(world, settings, vectors) -> None:
    s, v = settings(10), vectors(world.clients, 10)
    world.upload(v, s, round_number=1, slot=1)
    for change in (
        {"round_number": 1, "slot": 1},
        {"round_number": 1, "slot": 1, "model_hash": b"n" * 32},
        {"round_number": 1, "slot": 2},
        {"round_number": 2, "slot": 1},
        {"stage": "centre", "round_number": 1, "slot": 1},
    ):
        error = refusal(world.upload, v, s, **change)
        assert error.code is ErrorCode.MASK_REUSED
        assert "ana has already uploaded" in error.message
    refusal(world.upload, v, settings(20), error=UsageError)
    world.upload(v, s, round_number=2, slot=2)
    world.upload(v, s, stage="centre", round_number=1, slot=0)


def test_an_update_that_cannot_be_summed_leaves_its_place_and_slot_free(world, settings, vectors) -> None:
    s, v = settings(10), vectors(world.clients, 10)
    for change, code in (
        ({"vectors": v | {"ana": np.full(10, np.nan)}}, ErrorCode.UPDATE_NOT_FINITE),
        ({"vectors": v | {"ana": np.zeros(11)}}, ErrorCode.UPDATE_WRONG_SHAPE),
        ({"settings": settings(10, cohort_cap=2)}, ErrorCode.SUM_SETTINGS_INVALID),
        ({"slot": 16}, ErrorCode.SUM_SETTINGS_INVALID),
        ({"slot": -1}, ErrorCode.USAGE),
        ({"stage": "No Such Stage"}, ErrorCode.USAGE),
        ({"stage": "setup"}, ErrorCode.USAGE),
        ({"model_hash": b"short"}, ErrorCode.USAGE),
    ):
        error = refusal(world.upload, error=UsageError, **({"vectors": v, "settings": s} | change))
        assert error.code is code
    np.testing.assert_array_equal(world.sum(v, s).total.values, exact_sum(v, s))


def test_a_set_up_holds_as_many_sums_as_it_has_slots(vectors) -> None:
    world, s = make_world(slots=2).set_up(), make_settings(10)
    v = vectors(world.clients, 10)
    for slot in (1, 0):
        world.sum(v, s, slot=slot, round_number=slot)
    error = refusal(world.upload, v, s, slot=2, round_number=2, error=UsageError)
    assert error.code is ErrorCode.SUM_SETTINGS_INVALID
    assert "slot 2, and the set-up has prepared 2" in error.message
    assert "set up again" in error.fix
    world.set_up(epoch=1)
    world.sum(v, s, slot=0, round_number=2)


# Set-ups


def test_steps_out_of_order_are_refused(new_world, settings, vectors) -> None:
    world = new_world()
    ana, s, v = world.clients["ana"], settings(10), vectors(("ana",), 10)
    received: dict[str, bytes] = dict.fromkeys(("share", "agree", "accept"), b"")

    def refused(*steps: str) -> None:
        calls = {step: lambda step=step: getattr(ana, step)(received[step]) for step in received}
        calls |= {"advertise": ana.advertise, "upload": lambda: world.upload(v, s)}
        for step in steps:
            error = refusal(calls[step])
            assert error.code is ErrorCode.STAGE_OUT_OF_ORDER
            assert "ana" in error.message

    refused("share", "agree", "accept", "upload")
    assert refusal(ana.open, b"").code is ErrorCode.NO_DECRYPTION_KEY
    answers = world.handle("advertise", world.advertise())
    received["share"] = answers["ana"]
    refused("advertise", "agree", "accept", "upload")
    answers = world.handle("share", world.share(answers))
    received["agree"] = answers["ana"]
    refused("advertise", "share", "accept", "upload")
    answers = world.handle("agree", world.agree(answers))
    received["accept"] = answers["ana"]
    refused("advertise", "share", "upload")
    assert refusal(ana.open, b"").code is ErrorCode.NO_DECRYPTION_KEY
    world.accept(answers)
    refused("advertise", "share", "agree", "accept")
    world.upload(v, s)


def test_the_error_says_which_step_is_next(new_world) -> None:
    error = refusal(new_world().clients["ana"].accept, b"")
    assert error.message == "accept was called on ana, whose set-up waits for advertise"


def test_a_client_shares_its_seeds_once_whatever_it_is_shown(new_world) -> None:
    """Two sharings over different clients would let fewer than the threshold bring a seed back."""
    world = new_world(FIVE)
    honest = world.advertise()
    answers = world.handle("advertise", honest)
    ana = world.clients["ana"]
    ana.share(answers["ana"])
    fewer = write_advertisements({name: honest[name] for name in FIVE[:4]}, epoch=0, session=world.session)
    for message in (answers["ana"], fewer):
        assert refusal(ana.share, message).code is ErrorCode.STAGE_OUT_OF_ORDER


def test_a_set_up_step_that_was_refused_can_be_repeated(new_world) -> None:
    world = new_world()
    ana = world.clients["ana"]
    answers = world.handle("advertise", world.advertise())
    assert refusal(ana.share, answers["ana"][:-1]).code is ErrorCode.MESSAGE_MALFORMED
    answers = world.handle("share", world.share(answers))
    assert refusal(ana.agree, answers["ben"]).code is ErrorCode.MESSAGE_UNEXPECTED
    answers = world.handle("agree", world.agree(answers))
    assert refusal(ana.accept, answers["ana"][:-1]).code is ErrorCode.MESSAGE_MALFORMED
    world.accept(answers)


def test_a_client_agrees_again_to_the_same(new_world) -> None:
    world = new_world()
    answers = world.handle("share", world.share(world.handle("advertise", world.advertise())))
    ana = world.clients["ana"]
    assert ana.agree(answers["ana"]) == ana.agree(answers["ana"])
    world.accept(world.handle("agree", world.agree(answers)))


def test_a_second_set_up_has_fresh_keys_and_free_slots(vectors) -> None:
    world, s = make_world(slots=2).set_up(), make_settings(10)
    v = vectors(world.clients, 10)
    world.sum(v, s, slot=0, round_number=0)
    first = world.clients["ana"]._membership
    world.set_up(epoch=1)
    second = world.clients["ana"]._membership
    assert (first.directory.epoch, second.directory.epoch) == (0, 1)
    assert not set(first.own.mask_keys) & set(second.own.mask_keys)
    assert first.key.to_bytes() != second.key.to_bytes()
    assert first.group_secret != second.group_secret
    for slot in range(2):
        run = world.sum(v, s, slot=slot, round_number=1 + slot)
        np.testing.assert_array_equal(run.total.values, exact_sum(v, s))


def test_a_new_set_up_frees_slots_and_never_places(vectors) -> None:
    world, s = make_world(slots=2).set_up(), make_settings(10)
    v = vectors(world.clients, 10)
    world.upload(v, s, slot=0, round_number=0)
    world.set_up(epoch=1)
    error = refusal(world.upload, v, s, slot=1, round_number=0)
    assert error.code is ErrorCode.MASK_REUSED
    world.upload(v, s, slot=0, round_number=1)


def test_a_sum_of_an_earlier_set_up_still_opens(vectors) -> None:
    world, s = make_world(slots=2).set_up(), make_settings(10)
    v = vectors(world.clients, 10)
    run = world.sum(v, s, slot=0, round_number=0, silent={"open": ["ana"]})
    world.set_up(epoch=1)
    world.sum(v, s, slot=0, round_number=1)
    opened = world.clients["ana"].open(run.answers["unmask"]["ana"])
    np.testing.assert_array_equal(opened.values, exact_sum(v, s))


def test_who_misses_a_set_up_takes_part_in_the_next(vectors) -> None:
    world, s = make_world(FIVE, slots=1), settings_of_five(10)
    v = vectors(FIVE, 10)
    for epoch, stage in enumerate(("advertise", "share", "agree", "accept")):
        world.set_up(epoch=epoch, silent={stage: ["ana"]})
        assert refusal(world.upload, {"ana": v["ana"]}, s, slot=0, round_number=epoch).code is (
            ErrorCode.STAGE_OUT_OF_ORDER
        )
        others = {name: v[name] for name in FIVE[1:]}
        run = world.sum(others, s, slot=0, round_number=epoch)
        np.testing.assert_array_equal(run.total.values, exact_sum(others, s))
    world.set_up(epoch=4)
    np.testing.assert_array_equal(world.sum(v, s, slot=0, round_number=4).total.values, exact_sum(v, s))


@pytest.mark.parametrize("lost", [{"advertise": ["ana"]}, {"share": ["ana"]}, {"agree": ["ana", "ben"]}])
def test_set_up_messages_that_are_lost_cost_their_sender_the_set_up_at_most(lost) -> None:
    world, s = make_world(FIVE).set_up(lost=lost), settings_of_five(10)
    left_out = [] if "agree" in lost else ["ana"]
    v = make_vectors([name for name in FIVE if name not in left_out], 10)
    run = world.sum(v, s)
    assert list(run.opened) == list(v)
    np.testing.assert_array_equal(run.total.values, exact_sum(v, s))


@pytest.mark.parametrize("epoch", [-1, 0, 3, 4])
def test_a_set_up_number_is_used_once_and_numbers_go_up(world, epoch: int) -> None:
    ana = world.clients["ana"]
    world.set_up(epoch=1)
    ana.advertise(epoch=4)
    error = refusal(ana.advertise, epoch=epoch)
    assert error.code is ErrorCode.STAGE_OUT_OF_ORDER
    assert f"set-up {epoch} of ana has begun before" in error.message


def test_a_session_has_1024_set_ups(new_world) -> None:
    ana = new_world().clients["ana"]
    ana.advertise(epoch=1023)
    error = refusal(ana.advertise, epoch=1024, error=UsageError)
    assert "set-ups 0 to 1023" in error.message


def test_an_abandoned_set_up_leaves_the_one_before_in_force(world, settings, vectors) -> None:
    s, v = settings(10), vectors(world.clients, 10)
    for client in world.clients.values():
        client.advertise(epoch=1)
    np.testing.assert_array_equal(world.sum(v, s).total.values, exact_sum(v, s))


# Who takes part


def test_an_identity_that_is_not_on_the_roster_is_refused(new_world) -> None:
    world = new_world()
    for identity in (Identity.generate("eve"), Identity.generate("ana")):
        error = refusal(world.make_client, "ana", identity=identity, error=SetupError)
        assert error.code is ErrorCode.ROSTER_INVALID
        assert identity.client_id in error.message


def test_a_roster_that_is_too_small_for_the_quorum_is_refused(new_world) -> None:
    world = new_world()
    error = refusal(world.make_client, "ana", quorum=Quorum(minimum=4, colluding=0), error=SetupError)
    assert error.code is ErrorCode.ROSTER_INVALID
    assert "the roster holds 3 clients, and sums need 4" in error.message


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"policy_hash": b"q" * 32}, ErrorCode.MESSAGE_UNEXPECTED),
        ({"session_id": b"another session!"}, ErrorCode.MESSAGE_UNEXPECTED),
        ({"slots": 15}, ErrorCode.MESSAGE_MALFORMED),
        ({"slots": 17}, ErrorCode.MESSAGE_MALFORMED),
    ],
)
def test_a_client_with_other_terms_is_refused_before_any_secret_is_shared(new_world, change, code) -> None:
    world = new_world()
    world.clients["ben"] = world.make_client("ben", **change)
    messages = world.advertise()
    error = refusal(world.handle, "advertise", messages)
    assert error.code is code
    assert code is ErrorCode.MESSAGE_MALFORMED or "ben" in error.message


def test_clients_with_another_quorum_or_roster_never_share_a_key() -> None:
    """What they sign looks alike; what they seal does not open."""
    for change in (
        {"quorum": Quorum(minimum=3, colluding=0)},
        {"quorum": Quorum(minimum=2, colluding=1)},
    ):
        world = make_world(FIVE)
        world.clients["ben"] = world.make_client("ben", **change)
        deliveries = world.handle("share", world.share(world.handle("advertise", world.advertise())))
        for name in ("ana", "ben"):
            error = refusal(world.clients[name].agree, deliveries[name])
            assert error.code in {ErrorCode.SIGNATURE_INVALID, ErrorCode.MESSAGE_MALFORMED}


def test_a_client_shows_no_secret_and_cannot_be_copied(new_world) -> None:
    world = new_world()
    ana = world.clients["ana"]
    assert repr(ana) == "SumClient('ana', set-up -1, secrets hidden)"
    world.set_up()
    assert repr(ana) == "SumClient('ana', set-up 0, secrets hidden)"
    world.upload({"ana": np.zeros(10)}, make_settings(10))
    (pending,) = ana._pending.values()
    assert repr(pending) == "ClientSum(train, round 1, secrets hidden)"
    for secret in (ana, pending):
        for copier in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                copier(secret)
