"""The style index: round trip, search, and files that somebody changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from fedstyle_secure.errors import ErrorCode, SetupError, UsageError
from fedstyle_secure.style.index import Match, StyleIndex
from fedstyle_secure.style.public import shipped_sha256

ENCODER = "colour-texture"


def _index(**changes: object) -> StyleIndex:
    rng = np.random.default_rng(0)
    parts = {
        "artists": ("Ada", "Бела", "Chi"),
        "prototypes": rng.standard_normal((3, 8)),
        "centre": rng.standard_normal(8) / 10,
        "head_weight": np.eye(8) + rng.standard_normal((8, 8)) / 20,
        "encoder": ENCODER,
        "projection_sha256": shipped_sha256(ENCODER),
        "guarantee": {"epsilon": 8.0, "delta": 1e-5, "unit": "artwork"},
    }
    return StyleIndex(**{**parts, **changes})


def _tensors_file(folder: Path) -> Path:
    (path,) = folder.glob("style-index-*.safetensors")
    return path


def test_what_is_saved_comes_back_exactly(tmp_path: Path) -> None:
    index = _index()
    index.save(tmp_path)
    back = StyleIndex.load(tmp_path)
    for name in ("prototypes", "centre", "head_weight"):
        np.testing.assert_array_equal(getattr(back, name), getattr(index, name))
    for name in ("artists", "encoder", "projection_sha256", "guarantee"):
        assert getattr(back, name) == getattr(index, name)


def test_saving_again_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    _index().save(tmp_path)
    _index(prototypes=np.ones((3, 8))).save(tmp_path)
    assert StyleIndex.load(tmp_path).prototypes[0, 0] == 1.0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        _tensors_file(tmp_path).name,
        "style-index.json",
    ]


@pytest.mark.parametrize("fail_at", [1, 2])
def test_a_crash_while_saving_leaves_the_old_index_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    _index().save(tmp_path)
    replace, calls = os.replace, []

    def crash(source: str, target: Path) -> None:
        calls.append(target)
        if len(calls) == fail_at:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(SetupError) as caught:
        _index(prototypes=np.ones((3, 8))).save(tmp_path)
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    monkeypatch.undo()
    np.testing.assert_array_equal(StyleIndex.load(tmp_path).prototypes, _index().prototypes)
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_is_not_there_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        _index().save(tmp_path / "missing")
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE


def test_search_ranks_by_cosine_after_centre_and_head() -> None:
    swap = np.zeros((2, 2))
    swap[0, 1] = swap[1, 0] = 1.0
    index = _index(
        artists=("east", "north", "south-west"),
        prototypes=np.array([[2.0, 0.0], [0.0, 0.1], [-3.0, -3.0]]),
        centre=np.array([10.0, 20.0]),
        head_weight=swap,
    )
    matches = index.search(
        np.array([10.0 + 4, 20.0 + 3])
    )  # (0.8, 0.6) from the centre, (0.6, 0.8) after the head
    assert [match.artist for match in matches] == ["north", "east", "south-west"]
    assert [match.rank for match in matches] == [1, 2, 3]
    assert [match.score for match in matches] == pytest.approx([0.8, 0.6, -1.4 / 2**0.5])
    assert isinstance(matches[0], Match)


def test_embeddings_are_unit_and_an_image_at_the_centre_is_no_error() -> None:
    index = _index()
    rows = np.vstack([np.random.default_rng(1).standard_normal((4, 8)), index.centre])
    np.testing.assert_allclose(np.linalg.norm(index.embed(rows), axis=1), [1, 1, 1, 1, 0], atol=1e-12)
    assert index.scores(rows).shape == (5, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"artists": ()},
        {"artists": ("Ada", "Ada", "Chi")},
        {"artists": ("Ada", "", "Chi")},
        {"artists": ("Ada", "Chi")},
        {"centre": np.zeros(7)},
        {"head_weight": np.zeros((8, 7))},
        {"prototypes": np.full((3, 8), np.nan)},
        {"centre": np.zeros(8, dtype=np.float32)},
        {"projection_sha256": "abc"},
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match=r"artists|dimensions|finite|projection_sha256"):
        _index(**changes)


def _edit_json(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "style-index.json"
        described = json.loads(path.read_text())
        change(described)
        path.write_text(json.dumps(described))

    return edit


def _replace_json(text: str) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / "style-index.json").write_text(text)

    return replace


def _repeat_a_key(folder: Path) -> None:
    path = folder / "style-index.json"
    path.write_text(path.read_text().replace('"version": 1,', '"version": 1, "version": 1,'))


def _flip_a_bit(folder: Path) -> None:
    path = _tensors_file(folder)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def _swap_tensors(change: Callable[[dict], dict]) -> Callable[[Path], None]:
    """Other tensors under a hash that fits them."""

    def edit(folder: Path) -> None:
        path = _tensors_file(folder)
        content = save(change(load(path.read_bytes())))
        digest = hashlib.sha256(content).hexdigest()
        path.rename(folder / f"style-index-{digest[:16]}.safetensors").write_bytes(content)
        _edit_json(lambda described: described.update(tensors_sha256=digest))(folder)

    return edit


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "style-index.json").unlink(), "not complete"),
        (lambda folder: _tensors_file(folder).unlink(), "not complete"),
        (_flip_a_bit, "not the ones that were saved"),
        (_replace_json("{"), "Expecting"),
        (_replace_json("[" * 100_000), "recursion"),
        (_replace_json("[]"), "not a style index"),
        (_repeat_a_key, "a key twice"),
        (_edit_json(lambda d: d.update(kind="other")), "not a style index"),
        (_edit_json(lambda d: d.update(version=2)), "another version"),
        (_edit_json(lambda d: d.update(extra=1)), "keys"),
        (_edit_json(lambda d: d.pop("guarantee")), "keys"),
        (_edit_json(lambda d: d.update(artists="abc")), "list of names"),
        (_edit_json(lambda d: d.update(artists=[1, 2, 3])), "list of names"),
        (_edit_json(lambda d: d["artists"].append("extra")), "dimensions"),
        (_edit_json(lambda d: d["artists"].__setitem__(0, "Chi")), "name of its own"),
        (_edit_json(lambda d: d.update(guarantee=8)), "guarantee"),
        (_edit_json(lambda d: d["guarantee"].update(epsilon=float("nan"))), "NaN"),
        (_edit_json(lambda d: d.update(encoder="other")), "encoder"),
        (_edit_json(lambda d: d.update(encoder=[])), "encoder"),
        (_edit_json(lambda d: d.update(encoder="efficientnet-lite0")), "version of the public projection"),
        (_edit_json(lambda d: d.update(projection_sha256="0" * 64)), "version of the public projection"),
        (_edit_json(lambda d: d.update(tensors_sha256="../../../etc/passwd")), "hexadecimal"),
        (_swap_tensors(lambda t: {**t, "extra": np.zeros(1)}), "not the expected ones"),
        (_swap_tensors(lambda t: {**t, "centre": np.zeros(5)}), "dimensions"),
        (_swap_tensors(lambda t: {**t, "centre": np.zeros(8, dtype=np.float32)}), "precision"),
        (_swap_tensors(lambda t: {**t, "centre": np.full(8, np.inf)}), "finite"),
    ],
)
def test_an_index_that_was_changed_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], problem: str
) -> None:
    _index().save(tmp_path)
    damage(tmp_path)
    with pytest.raises(UsageError, match=problem) as caught:
        StyleIndex.load(tmp_path)
    assert caught.value.code is ErrorCode.RUN_FOLDER_INVALID
    assert caught.value.fix


def test_a_guarantee_that_is_not_json_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        _index(guarantee={"epsilon": float("inf")}).save(tmp_path)
    assert list(tmp_path.iterdir()) == []
