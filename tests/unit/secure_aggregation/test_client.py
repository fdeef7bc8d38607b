from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError, SetupError, UsageError
from fedstyle_secure.secure_aggregation.client import SumClient
from fedstyle_secure.secure_aggregation.encoding import NearestRounding, decode
from fedstyle_secure.secure_aggregation.keys import Identity
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate


def refusal(call, *arguments, error: type = ProtocolError, **keywords):
    with pytest.raises(error) as caught:
        call(*arguments, **keywords)
    return caught.value


def test_all_clients_open_the_same_sum(world, settings, vectors) -> None:
    s, v = settings(5000), vectors(world.clients, 5000)
    downloads = world.handle("upload", world.upload(v, s))
    opened = [client.open(downloads[name]) for name, client in world.clients.items()]
    assert all(np.array_equal(opened[0].values, other.values) for other in opened)
    assert opened[0].clients == 3
    np.testing.assert_allclose(decode(opened[0], s), sum(v.values()), atol=3 / s.steps_per_unit)


def test_several_sums_may_be_open_at_once_and_come_back_in_any_order(world, settings, vectors) -> None:
    s, ana = settings(10), world.clients["ana"]
    expected, downloads = {}, {}
    for round_number in range(3):
        v = vectors(world.clients, 10, seed=round_number)
        expected[round_number] = sum(v.values())
        downloads[round_number] = world.handle("upload", world.upload(v, s, round_number=round_number))
    for round_number in (1, 2, 0):
        total = decode(ana.open(downloads[round_number]["ana"]), s)
        np.testing.assert_allclose(total, expected[round_number], atol=3 / s.steps_per_unit)


def test_sums_of_different_shapes_share_a_session(world, settings, vectors) -> None:
    for stage, s in (("centre", settings(65)), ("train", settings(4096, value_bits=24, cohort_cap=64))):
        v = vectors(world.clients, s.length)
        downloads = world.handle("upload", world.upload(v, s, stage=stage))
        total = decode(world.clients["cem"].open(downloads["cem"]), s)
        np.testing.assert_allclose(total, sum(v.values()), atol=3 / s.steps_per_unit)


def test_a_second_upload_of_a_stage_and_round_is_refused(world, settings, vectors) -> None:
    s, v = settings(10), vectors(world.clients, 10)
    world.upload(v, s)
    for change in ({}, {"model_hash": b"n" * 32}):
        error = refusal(world.upload, v, s, **change)
        assert error.code is ErrorCode.MASK_REUSED
    refusal(world.upload, v, settings(20), error=UsageError)
    world.upload(v, s, round_number=2)
    world.upload(v, s, stage="centre")


def test_an_update_that_cannot_be_encoded_leaves_its_round_free(world, settings, vectors) -> None:
    s, v = settings(10), vectors(world.clients, 10)
    bad = v | {"ana": np.full(10, np.nan)}
    assert refusal(world.upload, bad, s, error=UsageError).code is ErrorCode.UPDATE_NOT_FINITE
    small = settings(10, cohort_cap=2)
    error = refusal(world.upload, v, small, error=UsageError)
    assert error.code is ErrorCode.SUM_SETTINGS_INVALID
    refusal(world.upload, v, s, stage="No Such Stage", error=UsageError)
    world.upload(v, s)


def test_steps_out_of_order_are_refused(new_world, settings, vectors) -> None:
    world = new_world()
    ana, s, v = world.clients["ana"], settings(10), vectors(world.clients, 10)
    for call in (lambda: ana.share_key(b""), lambda: ana.accept_key(b""), lambda: world.upload(v, s)):
        assert refusal(call).code is ErrorCode.STAGE_OUT_OF_ORDER
    assert refusal(ana.open, b"").code is ErrorCode.NO_DECRYPTION_KEY
    advertised = world.handle("advertise", world.advertise())
    assert refusal(ana.advertise).code is ErrorCode.STAGE_OUT_OF_ORDER
    world.share(advertised)
    assert refusal(ana.share_key, advertised["ana"]).code is ErrorCode.STAGE_OUT_OF_ORDER
    assert refusal(ana.open, b"").code is ErrorCode.NO_DECRYPTION_KEY


def test_an_identity_that_is_not_on_the_roster_is_refused(new_world) -> None:
    world = new_world()
    for identity in (Identity.generate("eve"), Identity.generate("ana")):
        error = refusal(
            SumClient,
            identity=identity,
            roster=world.roster,
            session_id=bytes(16),
            policy_hash=bytes(32),
            error=SetupError,
        )
        assert error.code is ErrorCode.ROSTER_INVALID


def test_a_sum_is_opened_once(world, settings, vectors) -> None:
    s, v = settings(10), vectors(world.clients, 10)
    downloads = world.handle("upload", world.upload(v, s))
    world.clients["ana"].open(downloads["ana"])
    assert refusal(world.clients["ana"].open, downloads["ana"]).code is ErrorCode.MESSAGE_REPLAYED


def test_a_sum_for_which_nothing_was_uploaded_is_refused(new_world, settings, vectors) -> None:
    world = new_world().set_up()
    s, v = settings(10), vectors(world.clients, 10)
    downloads = world.handle("upload", world.upload(v, s, round_number=1))
    twin = world.clients["ana"]
    twin._pending.clear()
    twin._used.clear()
    assert refusal(twin.open, downloads["ana"]).code is ErrorCode.MESSAGE_UNEXPECTED


def test_clients_on_different_policies_never_get_as_far_as_a_session_key(new_world) -> None:
    world = new_world()
    world.clients["ben"] = SumClient(
        identity=world.identities["ben"],
        roster=world.roster,
        session_id=world.session_id,
        policy_hash=b"q" * 32,
    )
    error = refusal(world.handle, "advertise", world.advertise())
    assert error.code is ErrorCode.MESSAGE_UNEXPECTED
    assert "policy" in error.message
    assert "ben" in error.message


def test_a_client_shows_no_secret_and_cannot_be_copied(world) -> None:
    ana = world.clients["ana"]
    assert repr(ana) == "SumClient('ana', ready, secrets hidden)"
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copier(ana)


def test_clients_that_round_to_the_nearest_open_the_same_sum_in_every_session(
    new_world, settings, vectors
) -> None:
    s, sums = settings(50), []
    for _ in range(2):
        world = new_world(rounding=NearestRounding()).set_up()
        downloads = world.handle("upload", world.upload(vectors(world.clients, 50), s))
        sums.append(world.clients["ana"].open(downloads["ana"]).values.tolist())
    assert sums[0] == sums[1]


def test_a_float32_vector_needs_no_float64_copy(world, settings) -> None:
    s = settings(10)
    v = {name: np.linspace(-1, 1, 10, dtype=np.float32) for name in world.clients}
    downloads = world.handle("upload", world.upload(v, s))
    total = decode(world.clients["ana"].open(downloads["ana"]), s)
    np.testing.assert_allclose(total, 3 * np.linspace(-1, 1, 10), atol=3.1 / s.steps_per_unit)
    assert ClippedUpdate(v["ana"]).values is v["ana"]
