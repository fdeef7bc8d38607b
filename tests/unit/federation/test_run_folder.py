import json
import os
import stat

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, SetupError, UsageError
from fedstyle_secure.federation.global_state import GlobalState
from fedstyle_secure.federation.journal import Progress
from fedstyle_secure.federation.records import ExchangeRecord
from fedstyle_secure.federation.run_folder import Manifest, RunFolder, read_manifest
from fedstyle_secure.federation.run_plan import Exchange, Stage

MANIFEST = Manifest(
    package_version="0",
    policy_sha256="aa",
    artworks_sha256="bb",
    encoder="e",
    projection_sha256="cc",
    artists=("ada", "bo"),
    evaluate=False,
)


def changed(**fields):
    return Manifest(**{**vars(MANIFEST), **fields})


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run", policy_text="version: 1\n", manifest=MANIFEST)


@pytest.fixture
def progress():
    state = GlobalState(
        centre=np.arange(3.0),
        count=7.5,
        anchors=None,
        head_weight=np.eye(3),
        momentum=np.zeros((3, 3)),
        prototypes=None,
    )
    record = ExchangeRecord("centre", 0, 2, 10, 20, {"open": 0.5}, 1.25)
    return Progress(state, (record,))


def test_manifest_survives(folder):
    assert read_manifest(folder.path) == MANIFEST


def test_a_folder_that_holds_anything_is_not_overwritten(folder):
    with pytest.raises(UsageError) as refused:
        RunFolder.create(folder.path, policy_text="", manifest=MANIFEST)
    assert refused.value.code is ErrorCode.RUN_FOLDER_EXISTS


def test_progress_survives(folder, progress):
    assert folder.progress() is None
    folder.commit(progress)
    again = folder.progress()
    assert again.records == progress.records
    for name, array in progress.state.arrays().items():
        np.testing.assert_array_equal(again.state.arrays()[name], array)


def test_releases_of_an_unfinished_exchange_are_drawn_once(folder):
    draws = []

    def draw():
        draws.append(1)
        return {"ada": np.random.default_rng().standard_normal(3), "bo": np.zeros(3)}

    exchange = Exchange(Stage.TRAIN, 4)
    first = folder.keep(exchange, draw)
    second = RunFolder(folder.path).keep(exchange, draw)
    assert len(draws) == 1
    assert list(second) == ["ada", "bo"]
    np.testing.assert_array_equal(first["ada"], second["ada"])


def test_releases_that_the_state_knows_nothing_of_stop_the_run(folder):
    folder.keep(Exchange(Stage.TRAIN, 4), lambda: {"ada": np.ones(2)})
    with pytest.raises(UsageError) as refused:
        folder.keep(Exchange(Stage.CENTRE), lambda: pytest.fail("noise was drawn a second time"))
    assert refused.value.code is ErrorCode.RUN_FOLDER_INVALID


def test_releases_of_the_exchange_just_committed_are_passed_over(folder, progress):
    folder.keep(Exchange(Stage.CENTRE), lambda: {"ada": np.ones(2)})
    outbox = folder.path / "private" / "outbox.safetensors"
    content = outbox.read_bytes()
    folder.commit(progress)
    outbox.write_bytes(content)  # as a kill between the two writes of a commit leaves it
    kept = folder.keep(Exchange(Stage.ANCHORS), lambda: {"ada": np.zeros(2)})
    np.testing.assert_array_equal(kept["ada"], np.zeros(2))


def test_a_run_without_its_state_is_damaged_and_not_new(folder):
    (folder.path / "state.safetensors").unlink()
    with pytest.raises(UsageError) as refused:
        folder.progress()
    assert refused.value.code is ErrorCode.RUN_FOLDER_INVALID


def test_a_finished_exchange_leaves_no_releases_behind(folder, progress):
    folder.keep(Exchange(Stage.CENTRE), lambda: {"ada": np.ones(2)})
    folder.commit(progress)
    assert [path.name for path in (folder.path / "private").iterdir()] == ["artworks.sha256"]


def test_only_the_owner_can_read_a_run(folder, progress):
    folder.commit(progress)
    for path in folder.path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"policy_sha256": "other"}, ErrorCode.RUN_FOLDER_OTHER_POLICY),
        ({"artworks_sha256": "other"}, ErrorCode.RUN_FOLDER_OTHER_ARTWORKS),
        ({"evaluate": True}, ErrorCode.RUN_FOLDER_OTHER_ARTWORKS),
    ],
)
def test_resuming_something_else_is_refused(folder, fields, code):
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
    with pytest.raises(UsageError) as refused:
        RunFolder.reopen(folder.path, manifest=changed(**fields))
    assert refused.value.code is code
    assert {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()} == before


def test_resuming_where_there_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError) as refused:
        RunFolder.reopen(tmp_path / "nowhere", manifest=MANIFEST)
    assert refused.value.code is ErrorCode.RUN_FOLDER_INVALID
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", json.dumps({"schema_version": 99}).encode()])
def test_a_damaged_manifest_is_refused(folder, damage):
    (folder.path / "manifest.json").write_bytes(damage)
    with pytest.raises(UsageError) as refused:
        read_manifest(folder.path)
    assert refused.value.code is ErrorCode.RUN_FOLDER_INVALID


@pytest.mark.parametrize("cut", [0, 4, 20, -1])
def test_a_damaged_state_is_refused(folder, progress, cut):
    folder.commit(progress)
    state = folder.path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:cut])
    with pytest.raises(UsageError) as refused:
        folder.progress()
    assert refused.value.code is ErrorCode.RUN_FOLDER_INVALID


def test_two_processes_cannot_continue_the_same_run(folder):
    with folder.locked(), pytest.raises(UsageError) as refused, RunFolder(folder.path).locked():
        pass
    assert refused.value.code is ErrorCode.RUN_FOLDER_EXISTS
    with RunFolder(folder.path).locked():
        pass


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError) as refused:
        RunFolder.create(tmp_path / "file" / "run", policy_text="", manifest=MANIFEST)
    assert refused.value.code is ErrorCode.OUTPUT_NOT_WRITABLE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SetupError) as refused:
        RunFolder.create(tmp_path / "run", policy_text="", manifest=MANIFEST)
    assert refused.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
