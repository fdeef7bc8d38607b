from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedstyle_secure.artworks.atelier import (
    demo_painter,
    paint_atelier,
    paint_public_painters,
    public_painter,
    write_atelier,
)
from fedstyle_secure.artworks.atelier.colour import lab_to_rgb
from fedstyle_secure.artworks.atelier.compose import compose
from fedstyle_secure.artworks.atelier.composition import Subject
from fedstyle_secure.artworks.atelier.families import RECIPES, Family
from fedstyle_secure.artworks.atelier.streams import stream
from fedstyle_secure.artworks.collection import ArtworkCollection
from fedstyle_secure.artworks.folder import read_artworks
from fedstyle_secure.errors import ErrorCode, SetupError

PAINTERS, WORKS = 10, 12


@pytest.fixture(scope="module")
def collection() -> ArtworkCollection:
    return paint_atelier(artists=PAINTERS, works=WORKS, seed=0)


def fingerprint(painted: ArtworkCollection) -> str:
    digest = hashlib.sha256()
    for artist in painted.artists:
        digest.update(artist.images.tobytes())
    return digest.hexdigest()


def grey(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float64) @ (0.299, 0.587, 0.114)


def colour_statistics(image: np.ndarray) -> np.ndarray:
    cells = image.astype(np.int64) // 64 @ (16, 4, 1)
    return np.sqrt(np.bincount(cells.ravel(), minlength=64) / cells.size)


def texture_statistics(image: np.ndarray) -> np.ndarray:
    """Strength and direction of gradients at four scales of the grey picture, free of its contrast."""
    plain = grey(image)
    plain = (plain - plain.mean()) / (plain.std() + 1)
    found: list[float] = []
    for scale in (1, 2, 4, 8):
        side = plain.shape[0] // scale
        small = plain[: side * scale, : side * scale].reshape(side, scale, side, scale).mean(axis=(1, 3))
        across, down = np.diff(small, axis=1)[:-1], np.diff(small, axis=0)[:, :-1]
        strength = np.hypot(across, down)
        turned, _ = np.histogram(np.arctan2(down, across) % np.pi, 8, (0, np.pi), weights=strength)
        found += [np.log(strength.mean() + 1e-3), np.log(strength.std() + 1e-3)]
        found += [(strength > 0.1).mean(), (strength > 0.5).mean(), *turned / (turned.sum() + 1e-9)]
    return np.array(found)


def layout_statistics(image: np.ndarray) -> np.ndarray:
    """Where light and dark lie, at 8 by 8, without a possible margin."""
    rough = grey(image)[16:-16, 16:-16].reshape(8, 12, 8, 12).mean(axis=(1, 3)).ravel()
    return (rough - rough.mean()) / (rough.std() + 1)


def leave_one_out(features: np.ndarray, painters: int) -> float:
    """Accuracy of nearest centroids; the work in question is taken out of its painter's centroid."""
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    by_painter = features.reshape(painters, -1, features.shape[1])
    works, sums = by_painter.shape[1], by_painter.sum(axis=1)
    right = 0
    for painter in range(painters):
        for work in by_painter[painter]:
            centroids = sums / works
            centroids[painter] = (sums[painter] - work) / (works - 1)
            right += int(np.argmin(((centroids - work) ** 2).sum(axis=1)) == painter)
    return right / (painters * works)


def statistics(collection: ArtworkCollection, of: object) -> np.ndarray:
    return np.stack([of(image) for artist in collection.artists for image in artist.images])


class TestForm:
    def test_names_sizes_and_files(self, collection: ArtworkCollection) -> None:
        assert [artist.artist for artist in collection.artists] == [f"painter-{n:02d}" for n in range(1, 11)]
        assert collection.notices == ()
        for artist in collection.artists:
            assert artist.images.shape == (WORKS, 128, 128, 3)
            assert artist.images.dtype == np.uint8
            assert artist.files[:2] == ("001.png", "002.png")

    def test_a_hundred_painters_stay_sorted(self) -> None:
        painted = paint_atelier(artists=100, works=1, seed=3, image_size=32)
        assert [painted.artists[index].artist for index in (0, 99)] == ["painter-001", "painter-100"]

    @pytest.mark.parametrize("image_size", [32, 50, 200])
    def test_other_sizes_show_the_same_content(self, image_size: int) -> None:
        small = paint_atelier(artists=13, works=1, seed=1, image_size=image_size)
        usual = paint_atelier(artists=13, works=1, seed=1)
        alike = []
        for one, other in zip(small.artists, usual.artists, strict=True):
            assert one.images.shape == (1, image_size, image_size, 3)
            pair = [
                np.asarray(
                    Image.fromarray(artist.images[0]).convert("L").resize((12, 12), Image.Resampling.BOX)
                )
                for artist in (one, other)
            ]
            alike.append(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1])
        assert np.median(alike) > 0.9

    @pytest.mark.parametrize("counts", [(0, 1), (1, 0)])
    def test_senseless_counts(self, counts: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="1 or more"):
            paint_atelier(artists=counts[0], works=counts[1], seed=0)
        with pytest.raises(ValueError, match="1 or more"):
            paint_public_painters(0, *counts)
        with pytest.raises(ValueError, match="0 or more"):
            paint_public_painters(-1, 1, 1)
        with pytest.raises(ValueError, match="image_size"):
            paint_atelier(artists=1, works=1, seed=0, image_size=31)


class TestDeterminism:
    def test_another_process_paints_the_same_bytes(self) -> None:
        program = """
import hashlib
from fedstyle_secure.artworks.atelier import paint_atelier, paint_public_painters
digest = hashlib.sha256()
for painted in (paint_atelier(artists=13, works=1, seed=5), paint_public_painters(40, 13, 1)):
    for artist in painted.artists:
        digest.update(artist.images.tobytes())
print(digest.hexdigest())
"""
        answers = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed in ("1", "2")
        }
        assert len(answers) == 1

    def test_counts_and_order_change_nothing(self, collection: ArtworkCollection) -> None:
        fewer = paint_atelier(artists=4, works=3, seed=0)
        for one, other in zip(fewer.artists, collection.artists, strict=False):
            np.testing.assert_array_equal(one.images, other.images[:3])

    def test_batches_of_public_painters_fit_together(self) -> None:
        whole = paint_public_painters(5, 4, 2, image_size=64)
        late = paint_public_painters(7, 2, 2, image_size=64)
        for one, other in zip(late.artists, whole.artists[2:], strict=True):
            assert one.artist == other.artist
            np.testing.assert_array_equal(one.images, other.images)

    def test_global_random_state_is_neither_read_nor_moved(self, collection: ArtworkCollection) -> None:
        np.random.seed(1)
        before = np.random.get_state()[1].copy()
        again = paint_atelier(artists=PAINTERS, works=1, seed=0)
        np.testing.assert_array_equal(before, np.random.get_state()[1])
        assert all(
            (one.images[0] == other.images[0]).all()
            for one, other in zip(again.artists, collection.artists, strict=True)
        )

    def test_another_seed_paints_otherwise(self, collection: ArtworkCollection) -> None:
        assert fingerprint(paint_atelier(artists=3, works=1, seed=1)) != fingerprint(
            paint_atelier(artists=3, works=1, seed=0)
        )

    def test_streams_depend_on_all_their_words(self) -> None:
        words = [("a", 1, 2), ("a", 12), ("a", "1", 2), ("a", 2, 1), ("b", 1, 2), ("a", 1, 2, 0)]
        drawn = {stream(*each).integers(2**62) for each in words}
        assert len(drawn) == len(words)
        assert stream("a", 1, 2).integers(2**62) == stream("a", 1, 2).integers(2**62)


class TestPublicPainters:
    def test_they_are_never_demo_painters(self) -> None:
        public = {public_painter(index).palette.colours for index in range(150)}
        demo = {demo_painter(index, seed=seed).palette.colours for seed in range(10) for index in range(15)}
        assert len(public) == 150
        assert len(demo) == 150
        assert not public & demo

    def test_they_cover_all_families_evenly(self) -> None:
        dealt = [public_painter(index).family for index in range(4 * len(Family))]
        assert all(dealt.count(family) == 4 for family in Family)


class TestStyle:
    """A painter must be known by the hand, not by colour alone, and not by what is shown."""

    def test_every_family_has_a_recipe(self) -> None:
        assert set(RECIPES) == set(Family)

    @pytest.mark.parametrize("seed", range(3))
    def test_the_first_painters_have_different_hands(self, seed: int) -> None:
        assert len({demo_painter(index, seed=seed).family for index in range(13)}) == 13

    def test_grey_texture_alone_tells_painters_apart(self, collection: ArtworkCollection) -> None:
        accuracy = leave_one_out(statistics(collection, texture_statistics), PAINTERS)
        assert accuracy > 0.7  # chance is 0.1

    def test_colour_alone_helps_and_does_not_settle_it(self, collection: ArtworkCollection) -> None:
        accuracy = leave_one_out(statistics(collection, colour_statistics), PAINTERS)
        assert 0.4 < accuracy < 0.9

    def test_layout_does_not_give_painters_away(self, collection: ArtworkCollection) -> None:
        layout = leave_one_out(statistics(collection, layout_statistics), PAINTERS)
        texture = leave_one_out(statistics(collection, texture_statistics), PAINTERS)
        assert layout < texture - 0.3

    def test_the_measurement_itself_finds_nothing_in_shuffled_works(
        self, collection: ArtworkCollection
    ) -> None:
        features = statistics(collection, texture_statistics)
        shuffled = np.random.default_rng(2).permutation(features)
        assert leave_one_out(shuffled, PAINTERS) < 0.25

    def test_works_of_one_painter_differ_in_content(self, collection: ArtworkCollection) -> None:
        for artist in collection.artists:
            assert len({image.tobytes() for image in artist.images}) == WORKS
            alike = np.corrcoef(np.stack([layout_statistics(image) for image in artist.images]))
            assert np.median(alike[np.triu_indices(WORKS, 1)]) < 0.5

    def test_every_painter_takes_up_several_subjects(self) -> None:
        for index in range(26):
            shares = np.array(demo_painter(index, seed=1).composition.subjects)
            assert shares.sum() == pytest.approx(1)
            assert (shares > 0.05).sum() >= 3
            assert shares.max() < 0.8

    def test_every_work_shows_something(self) -> None:
        painted = paint_public_painters(200, 26, 2, image_size=64)
        contrast = [grey(image).std() for artist in painted.artists for image in artist.images]
        assert np.mean(np.array(contrast) > 8) > 0.95
        assert min(grey(image).mean() for artist in painted.artists for image in artist.images) > 15


class TestParts:
    @pytest.mark.parametrize("subject", list(Subject))
    def test_every_subject_can_be_drawn(self, subject: Subject) -> None:
        habits = demo_painter(0, seed=0).composition
        only = tuple(1.0 if each is subject else 0.0 for each in Subject)
        habits = type(habits)(**{**vars(habits), "subjects": only})
        scenes = [compose(habits, stream("test", number), side_px=128) for number in range(5)]
        for scene in scenes:
            assert scene.regions.shape == (128, 128)
            assert 0 <= scene.regions.min() <= scene.regions.max() < len(scene.roles)
        assert len({scene.regions.tobytes() for scene in scenes}) == 5

    def test_lab_to_rgb_meets_known_colours(self) -> None:
        # Lab (D65) of sRGB primaries and grey, rounded; from the definition of CIE Lab, IEC 61966-2-1.
        lab = np.array(
            [
                [100, 0, 0],
                [0, 0, 0],
                [53.24, 80.09, 67.20],
                [87.73, -86.18, 83.18],
                [32.30, 79.19, -107.86],
                [53.59, 0, 0],
            ]
        )
        rgb = [[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]]
        np.testing.assert_allclose(lab_to_rgb(lab), rgb, atol=1.0)


class TestWriting:
    def test_what_is_written_reads_back_exactly(self, collection: ArtworkCollection, tmp_path: Path) -> None:
        write_atelier(collection, tmp_path / "new" / "atelier")
        read = read_artworks(tmp_path / "new" / "atelier", minimum_per_artist=WORKS)
        assert read.notices == ()
        for one, other in zip(read.artists, collection.artists, strict=True):
            assert (one.artist, one.files) == (other.artist, other.files)
            np.testing.assert_array_equal(one.images, other.images)

    def test_an_empty_folder_is_filled(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        write_atelier(paint_atelier(artists=2, works=1, seed=0, image_size=32), tmp_path / "empty")
        assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == ["painter-01", "painter-02"]

    def test_a_full_folder_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("keep")
        with pytest.raises(SetupError, match="not empty") as caught:
            write_atelier(paint_atelier(artists=2, works=1, seed=0, image_size=32), tmp_path)
        assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    def test_failure_leaves_nothing_half_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        painted = paint_atelier(artists=2, works=2, seed=0, image_size=32)
        saved = []

        def full_disk(self: Image.Image, *place: object) -> None:
            saved.append(place)
            if len(saved) == 3:
                raise OSError(28, "No space left on device")
            Path(str(place[0])).write_bytes(b"x")

        monkeypatch.setattr(Image.Image, "save", full_disk)
        with pytest.raises(SetupError, match="No space left"):
            write_atelier(painted, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(SetupError) as caught:
            write_atelier(paint_atelier(artists=1, works=1, seed=0, image_size=32), tmp_path / "file" / "out")
        assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
