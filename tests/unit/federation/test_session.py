"""The whole run on small synthetic features, with real Opacus, real ciphertexts and real noise."""

import dataclasses
import gc

import numpy as np
import pytest

from fedstyle_secure.errors import BudgetError, ErrorCode, ProtocolError
from fedstyle_secure.federation import session as session_module
from fedstyle_secure.federation.artist import Artist
from fedstyle_secure.federation.global_state import FEATURE_NORM_BOUND, GlobalState
from fedstyle_secure.federation.run_folder import Manifest, RunFolder
from fedstyle_secure.federation.run_plan import Stage, plan_run
from fedstyle_secure.federation.session import run_session
from fedstyle_secure.federation.transcript import PLATFORM, Transcript
from fedstyle_secure.privacy.noise import NoNoise, SystemNoise
from fedstyle_secure.secure_aggregation.quorum import Quorum


def plan_for(policy, features):
    return plan_run(policy, list(features), public_model="test")


class Crash(Exception):
    pass


def crash_after(exchanges):
    seen = []

    def count(record):
        seen.append(record)
        if len(seen) == exchanges:
            raise Crash

    return count


@pytest.fixture
def folder(tmp_path):
    manifest = Manifest("0", "p", "a", "e", "c", ("artist-0",), False)
    return RunFolder.create(tmp_path / "run", policy_text="", manifest=manifest)


def test_a_run_releases_a_unit_prototype_for_every_artist(policy, features):
    works = features()
    result = run_session(plan_for(policy(), works), works)
    prototypes = result.state.finished_prototypes()
    assert prototypes.shape == (4, 16)
    np.testing.assert_allclose(np.linalg.norm(prototypes, axis=1), 1.0)
    assert [record.stage for record in result.records] == [
        "centre",
        "anchors",
        "train",
        "train",
        "train",
        "represent",
    ]
    assert result.records[-1].epsilon_so_far <= 8.0


def test_without_noise_the_centre_is_the_clipped_mean_up_to_the_quantisation_step(policy, features):
    works = features(works=20)
    plan = plan_for(policy(), works)
    state = run_session(plan, works, noise=NoNoise).state
    everything = np.concatenate(list(works.values()))
    clipped = everything * np.minimum(
        1, FEATURE_NORM_BOUND / np.linalg.norm(everything, axis=1, keepdims=True)
    )
    step = 2 * plan.sum_settings(Stage.CENTRE).value_limit / (2**16 - 2)
    # One contribution is (cos t x / bound, sin t) with sin^2 t = 1 / (1 + sqrt(16)); each artist rounds by
    # at most a step.
    cosine, sine = np.sqrt(4 / 5), np.sqrt(1 / 5)
    assert state.count == pytest.approx(len(everything), abs=len(works) * step / sine)
    tolerance = len(works) * step * (FEATURE_NORM_BOUND / cosine + 1 / sine) / len(everything)
    assert np.abs(state.centre - clipped.mean(axis=0)).max() < tolerance


def test_without_noise_training_finds_the_artists(policy, features):
    works = features(works=20)
    state = run_session(plan_for(policy(federation__rounds=10), works), works, noise=NoNoise).state
    for place, own in enumerate(works.values()):
        assert ((state.embed(own) @ state.finished_prototypes().T).argmax(axis=1) == place).mean() > 0.9
    assert np.abs(state.head_weight - np.eye(16)).max() > 0.01


def test_the_same_features_give_the_same_run_without_noise(policy, features):
    works = features()
    plan = plan_for(policy(), works)
    first, second = (run_session(plan, works, noise=NoNoise).state.arrays() for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_noise_differs_between_two_runs(policy, features):
    works = features()
    plan = plan_for(policy(), works)
    first, second = (run_session(plan, works).state.arrays() for _ in range(2))
    for name in ("centre", "anchors", "head_weight", "prototypes"):
        assert np.abs(first[name] - second[name]).max() > 1e-3, name


@pytest.mark.parametrize("stage", list(Stage))
def test_deleting_one_artwork_moves_a_release_by_at_most_the_clip(policy, features, monkeypatch, stage):
    works = features()
    works["artist-1"][3] *= 1e6  # one extreme work
    plan = plan_for(policy(), works)
    state = dataclasses.replace(
        GlobalState.initial(plan),
        anchors=np.random.default_rng(1).standard_normal((len(works), 16)),
        head_weight=np.eye(16) + 0.1 * np.random.default_rng(2).standard_normal((16, 16)),
    )
    exchange = next(exchange for exchange in plan.exchanges if exchange.stage is stage)

    def release(artist_works):
        artists, _ = session_module._assemble(plan, {**works, "artist-1": artist_works}, [], NoNoise, None)
        return artists[1].release(exchange, state)

    everything = release(works["artist-1"])
    assert np.linalg.norm(everything) > 0
    for deleted in range(len(works["artist-1"])):
        moved = np.linalg.norm(everything - release(np.delete(works["artist-1"], deleted, axis=0)))
        assert moved <= 1.0 + 1e-6


def test_adding_one_artwork_changes_no_public_constant_and_no_message_size(policy, features):
    works = features()
    more = {**works, "artist-2": np.concatenate([works["artist-2"], works["artist-2"][:1]])}
    assert plan_for(policy(), works) == plan_for(policy(), more)
    sizes = [
        [(m.stage, m.sender, m.recipient, m.size_bytes) for m in run_session(plan, data).transcript.messages]
        for data in (works, more)
        for plan in [plan_for(policy(), data)]
    ]
    assert sizes[0] == sizes[1]


def test_the_aggregator_sees_no_release_in_the_clear(policy, features):
    works = features()
    plan = plan_for(policy(), works)
    result = run_session(plan, works, keep_transcript=True)
    seen = b"".join(message.content for message in result.transcript.seen_by(PLATFORM))
    assert len(seen) > 10_000
    # A shrunk release may start with zeros, and messages hold runs of zero bytes that tell nothing.
    released = [array[array != 0][:3] for array in result.state.arrays().values()]
    released = [values for values in released if len(values) == 3]
    assert released
    for values in released:
        for dtype in ("<f4", "<f8"):
            assert values.astype(dtype).tobytes() not in seen


@pytest.mark.parametrize(("slots", "set_ups"), [(32, 1), (4, 2), (1, 6)])
def test_a_run_sets_up_again_when_its_slots_are_used_up(policy, features, monkeypatch, slots, set_ups):
    monkeypatch.setattr(session_module, "_SLOTS", slots)
    works = features()
    plan = plan_for(policy(), works)
    result = run_session(plan, works, noise=NoNoise)
    assert len(result.records) == 6
    stages = [m.stage for m in result.transcript.messages if m.recipient == "artist-0"]
    set_up, exchange = ["advertise", "share", "agree"], ["upload", "confirm", "unmask"]
    expected = []
    for place in range(6):
        expected += (set_up if place % slots == 0 else []) + exchange
    assert stages == expected
    assert stages.count("advertise") == set_ups


def test_no_two_set_ups_and_no_two_slots_of_a_run_have_a_key_in_common(policy, features, monkeypatch):
    monkeypatch.setattr(session_module, "_SLOTS", 2)
    works = features()
    result = run_session(plan_for(policy(), works), works, keep_transcript=True)
    keys = []
    for message in result.transcript.messages:
        if message.stage == "advertise" and message.recipient == PLATFORM:
            payload = message.content[-64 - 1 - 3 * 32 : -64 - 1]  # three keys, neighbours, signature
            keys += [payload[at : at + 32] for at in range(0, len(payload), 32)]
    assert len(keys) == 3 * 4 * 3
    assert len(set(keys)) == len(keys)


def test_the_policys_cohort_is_the_quorum_of_its_sums(policy, features):
    works = features()
    plan = plan_for(policy(federation__cohort={"minimum": 4, "expected": 4, "colluding": 2}), works)
    artists, transport = session_module._assemble(plan, works, [], NoNoise, Transcript())
    assert transport._aggregator.threshold == 4
    for artist in artists:
        assert artist.client._session.quorum == Quorum(minimum=4, colluding=2)


def test_a_crashed_run_goes_on_where_it_stopped(policy, features, folder):
    works = features()
    plan = plan_for(policy(), works)
    with pytest.raises(Crash):
        run_session(plan, works, journal=folder, on_exchange=crash_after(3))
    half = folder.progress()
    result = run_session(plan, works, journal=folder)
    assert result.records[:3] == half.records
    assert [record.stage for record in result.records] == [exchange.stage for exchange in plan.exchanges]
    assert result.records[-1].epsilon_so_far <= 8.0
    np.testing.assert_array_equal(result.state.centre, half.state.centre)


def test_a_crash_between_noise_and_sum_sends_the_same_noise_again(policy, features, folder, monkeypatch):
    works = features()
    plan = plan_for(policy(), works)
    kept = []

    def fail(*arguments, **named):
        raise Crash

    with monkeypatch.context() as broken:
        broken.setattr(Artist, "protect", fail)
        with pytest.raises(Crash):
            run_session(plan, works, journal=folder)
    original = Artist.protect

    def spy(self, exchange, release, state, *, slot):
        if exchange.stage is Stage.CENTRE:
            kept.append(release)
        return original(self, exchange, release, state, slot=slot)

    drawn = folder.keep(plan.exchanges[0], lambda: pytest.fail("noise was drawn a second time"))
    monkeypatch.setattr(Artist, "protect", spy)
    run_session(plan, works, journal=folder)
    for first, again in zip(drawn.values(), kept, strict=True):
        np.testing.assert_array_equal(first, again)


def test_a_finished_run_resumed_does_nothing(policy, features, folder):
    works = features()
    plan = plan_for(policy(), works)
    first = run_session(plan, works, journal=folder)
    again = run_session(plan, works, journal=folder, noise=lambda: pytest.fail("no noise is needed"))
    assert again.records == first.records
    assert again.transcript.messages == ()


def test_a_release_past_the_plan_is_refused(policy, features):
    works = features()
    plan = plan_for(policy(), works)
    artists, _ = session_module._assemble(plan, works, [], SystemNoise, None)
    state = GlobalState.initial(plan)
    artists[0].release(plan.exchanges[0], state)
    with pytest.raises(BudgetError) as refused:
        artists[0].release(plan.exchanges[0], state)
    assert refused.value.code is ErrorCode.BUDGET_EXCEEDED


def test_artists_who_open_different_sums_stop_the_run(policy, features, monkeypatch):
    works = features()
    original = Artist.open

    def lie(self, exchange, message):
        return original(self, exchange, message) + (self.name == "artist-2")

    monkeypatch.setattr(Artist, "open", lie)
    with pytest.raises(ProtocolError) as refused:
        run_session(plan_for(policy(), works), works)
    assert refused.value.code is ErrorCode.SUM_MISMATCH


def test_an_artist_shows_no_features_when_printed(policy, features):
    works = features()
    artists, _ = session_module._assemble(plan_for(policy(), works), works, [], NoNoise, None)
    assert repr(artists[0]) == "Artist('artist-0')"
    gc.collect()


@pytest.mark.parametrize("stage", list(Stage))
def test_every_release_carries_the_planned_noise(policy, features, stage):
    works = features()
    plan = plan_for(policy(privacy__clip_norm_l2=0.5), works)
    state = dataclasses.replace(
        GlobalState.initial(plan), anchors=np.random.default_rng(1).standard_normal((len(works), 16))
    )
    exchange = next(exchange for exchange in plan.exchanges if exchange.stage is stage)

    def release(noise):
        artists, _ = session_module._assemble(plan, works, [], noise, None)
        return artists[1].release(exchange, state)

    exact = release(NoNoise)
    noise = np.concatenate([release(SystemNoise) - exact for _ in range(40)])
    if stage in (Stage.ANCHORS, Stage.REPRESENT):  # an artist fills its own place only
        noise = noise.reshape(40, len(works), 16)
        assert not noise[:, [0, 2, 3]].any()
        noise = noise[:, 1].ravel()
    planned = plan.budget.noise_multiplier(stage) * 0.5
    assert noise.std() == pytest.approx(planned, rel=0.15)
    assert abs(noise.mean()) < 6 * planned / np.sqrt(noise.size)


def test_the_records_count_every_byte_that_travelled(policy, features, monkeypatch):
    monkeypatch.setattr(session_module, "_SLOTS", 2)  # so that there are set-ups in between
    works = features()
    result = run_session(plan_for(policy(), works), works)
    for count, recorded in (("bytes_up", "bytes_up_per_artist"), ("bytes_down", "bytes_down_per_artist")):
        travelled = [getattr(result.transcript, count)(name) for name in works]
        total = sum(getattr(record, recorded) for record in result.records)
        assert max(travelled) <= total <= max(travelled) + len(result.records) * 64
