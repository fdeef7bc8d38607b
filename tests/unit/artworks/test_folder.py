from __future__ import annotations

import os
import struct
import subprocess
import sys
import tracemalloc
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedstyle_secure.artworks import folder as folder_module
from fedstyle_secure.artworks.collection import ArtworkCollection, Notice, NoticeCode
from fedstyle_secure.artworks.folder import read_artworks, read_image
from fedstyle_secure.errors import ArtworkError, ErrorCode, ExitCode

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "artworks"


def picture(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def fill(folder: Path, *artists: str, works: int = 2) -> Path:
    """A folder of good artists, so that a bad file is the only thing wrong."""
    for number, artist in enumerate(artists or ("ann", "bob")):
        (folder / artist).mkdir(parents=True)
        for work in range(works):
            picture(100 * number + work).save(folder / artist / f"{work}.png")
    return folder


def read(folder: Path, minimum_per_artist: int = 1, **options: int) -> ArtworkCollection:
    return read_artworks(folder, minimum_per_artist=minimum_per_artist, image_size=32, **options)


def only_notice(collection: ArtworkCollection) -> Notice:
    assert len(collection.notices) == 1, collection.notices
    return collection.notices[0]


def bad_file_notice(folder: Path, name: str, code: NoticeCode) -> Notice:
    """Read a folder of two good artists and one bad file: the run goes on, and one notice names the file."""
    collection = read(folder)
    notice = only_notice(collection)
    assert (notice.code, notice.artist, notice.file) == (code, "ann", name)
    assert notice.message.endswith(".")
    assert notice.fix.endswith(".")
    assert [artist.files for artist in collection.artists] == [("0.png", "1.png")] * 2
    return notice


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


class TestGoodFolders:
    def test_artists_and_works_come_sorted_and_square(self, tmp_path: Path) -> None:
        fill(tmp_path, "zoe", "ann", "Bob")
        collection = read(tmp_path)
        assert [artist.artist for artist in collection.artists] == ["Bob", "ann", "zoe"]
        assert collection.notices == ()
        assert collection.name == tmp_path.name
        for artist in collection.artists:
            assert artist.images.shape == (2, 32, 32, 3)
            assert artist.images.dtype == np.uint8
            assert artist.files == ("0.png", "1.png")

    def test_reading_twice_gives_the_same_bytes(self, tmp_path: Path) -> None:
        fill(tmp_path)
        first, second = read(tmp_path), read(tmp_path)
        for one, other in zip(first.artists, second.artists, strict=True):
            np.testing.assert_array_equal(one.images, other.images)

    def test_names_are_compared_in_normal_form_c(self, tmp_path: Path) -> None:
        decomposed = unicodedata.normalize("NFD", "zoë-漢字")
        fill(tmp_path, decomposed, "ann")
        assert [artist.artist for artist in read(tmp_path).artists] == [
            "ann",
            unicodedata.normalize("NFC", "zoë-漢字"),
        ]

    @pytest.mark.parametrize(("name", "artists", "works"), [("paintings", 13, 314), ("openclipart", 20, 917)])
    def test_real_collections_are_read_without_noise(self, name: str, artists: int, works: int) -> None:
        if not (SHARED / name).is_dir():
            pytest.skip("the shared development artworks are not on this machine")
        collection = read_artworks(SHARED / name, minimum_per_artist=4)
        assert len(collection.artists) == artists
        loaded = sum(len(artist.files) for artist in collection.artists)
        duplicates = [notice for notice in collection.notices if notice.code is NoticeCode.DUPLICATE_LEFT_OUT]
        assert loaded + len(duplicates) == works
        assert len(collection.notices) == len(duplicates)


class TestPrivacy:
    def test_only_pixels_leave(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x010F] = "Secret Camera"
        exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}  # GPS position
        fill(tmp_path, "ann", "bob", works=1)
        tagged = tmp_path / "ann" / "1.jpg"
        picture(9, 32, 32).save(tagged, exif=exif, comment=b"home address", quality=95)
        with Image.open(tagged) as image:
            assert image.getexif().get_ifd(0x8825), "the file must really carry a position"
        collection = read(tmp_path)
        works = collection.artists[0]
        assert works.files == ("0.png", "1.jpg")
        assert type(works.images) is np.ndarray
        picture(9, 32, 32).save(tmp_path / "plain.jpg", quality=95)
        np.testing.assert_array_equal(works.images[1], read_image(tmp_path / "plain.jpg", image_size=32))
        assert "Secret" not in repr(collection)

    def test_pixels_are_not_shown_by_repr(self, tmp_path: Path) -> None:
        assert repr(read(fill(tmp_path)).artists[0]) == "ArtistWorks(artist='ann', artworks=2)"

    def test_the_same_picture_counts_once(self, tmp_path: Path) -> None:
        fill(tmp_path)
        exif = Image.Exif()
        exif[0x0112] = 3
        with Image.open(tmp_path / "ann" / "0.png") as image:
            image.rotate(180).save(tmp_path / "ann" / "2.tif", exif=exif)
        notice = bad_file_notice(tmp_path, "2.tif", NoticeCode.DUPLICATE_LEFT_OUT)
        assert "0.png" in notice.message

    def test_a_picture_that_differs_in_one_pixel_is_another(self, tmp_path: Path) -> None:
        fill(tmp_path)
        image = Image.open(tmp_path / "ann" / "0.png")
        red, green, blue = image.getpixel((0, 0))
        image.putpixel((0, 0), ((red + 1) % 256, green, blue))
        image.save(tmp_path / "ann" / "2.png")
        assert read(tmp_path).artists[0].files == ("0.png", "1.png", "2.png")

    def test_the_same_picture_of_two_artists_stays(self, tmp_path: Path) -> None:
        fill(tmp_path)
        (tmp_path / "bob" / "2.png").write_bytes((tmp_path / "ann" / "0.png").read_bytes())
        assert read(tmp_path).artists[1].files == ("0.png", "1.png", "2.png")


class TestBadFiles:
    def test_empty_file(self, tmp_path: Path) -> None:
        (fill(tmp_path) / "ann" / "bad.jpg").write_bytes(b"")
        bad_file_notice(tmp_path, "bad.jpg", NoticeCode.FILE_EMPTY)

    def test_text_named_jpg(self, tmp_path: Path) -> None:
        (fill(tmp_path) / "ann" / "bad.jpg").write_text("this is not a picture\n" * 50)
        bad_file_notice(tmp_path, "bad.jpg", NoticeCode.FILE_NOT_AN_IMAGE)

    @pytest.mark.parametrize(
        "name", ["bad.png", "bad.jpg", "bad.webp", "bad.gif", "bad.bmp", "bad.tif", "bad.jp2"]
    )
    @pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
    def test_truncated_file(self, tmp_path: Path, name: str, kept: float) -> None:
        fill(tmp_path)
        path = tmp_path / "ann" / name
        rng = np.random.default_rng(5)
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * kept)])
        notice = only_notice(read(tmp_path))
        assert notice.file == name
        assert notice.code in (NoticeCode.FILE_DAMAGED, NoticeCode.FILE_NOT_AN_IMAGE)

    def test_random_damage_never_escapes(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(11)
        fill(tmp_path)
        originals = []
        for suffix in ("png", "jpg", "webp", "gif", "bmp", "tif", "jp2"):
            picture(7, 48, 48).save(tmp_path / f"whole.{suffix}")
            originals.append((suffix, (tmp_path / f"whole.{suffix}").read_bytes()))
        for number in range(140):
            suffix, whole = originals[number % len(originals)]
            broken = bytearray(whole)
            for place in rng.integers(0, len(broken), 1 + number % 20):
                broken[place] = rng.integers(256)
            (tmp_path / "ann" / f"broken-{number:03d}.{suffix}").write_bytes(bytes(broken))
        collection = read(tmp_path)
        known = set(collection.artists[0].files) | {notice.file for notice in collection.notices}
        assert known >= {f"broken-{number:03d}.{originals[number % 7][0]}" for number in range(140)}

    def test_bomb_is_refused_from_its_header(self, tmp_path: Path) -> None:
        (fill(tmp_path) / "ann" / "bad.png").write_bytes(png_header(50_000, 50_000))
        tracemalloc.start()
        try:
            notice = bad_file_notice(tmp_path, "bad.png", NoticeCode.IMAGE_TOO_LARGE)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 20_000_000
        assert "64 megapixels" in notice.message

    @pytest.mark.skipif(sys.platform != "linux", reason="the kernel's peak memory is read as on Linux")
    def test_bomb_costs_no_memory_outside_python_either(self, tmp_path: Path) -> None:
        (tmp_path / "bomb.png").write_bytes(png_header(50_000, 50_000))
        (tmp_path / "below-pillows-own-limit.png").write_bytes(png_header(12_000, 12_000))
        program = """
import resource, sys
from pathlib import Path
from fedstyle_secure.artworks.folder import read_image
from fedstyle_secure.errors import ArtworkError
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
for name in sys.argv[1:]:
    try:
        read_image(Path(name))
    except ArtworkError:
        continue
    sys.exit("a bomb was read")
print(peak() - before)
"""
        finished = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *sorted(map(str, tmp_path.iterdir()))],
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(finished.stdout) < 40_000  # kibibytes; decoded, one of them has 432 megabytes

    @pytest.mark.parametrize(("width", "height"), [(8001, 8000), (12_000, 12_000), (4_000_000_000, 1)])
    def test_limit_is_our_own(self, tmp_path: Path, width: int, height: int) -> None:
        (fill(tmp_path) / "ann" / "bad.png").write_bytes(png_header(width, height))
        bad_file_notice(tmp_path, "bad.png", NoticeCode.IMAGE_TOO_LARGE)

    def test_file_of_absurd_size(self, tmp_path: Path) -> None:
        with (fill(tmp_path) / "ann" / "bad.png").open("wb") as file:
            file.truncate(2**30)  # a hole; takes no space
        bad_file_notice(tmp_path, "bad.png", NoticeCode.IMAGE_TOO_LARGE)

    def test_too_small(self, tmp_path: Path) -> None:
        picture(5, 200, 15).save(fill(tmp_path) / "ann" / "bad.png")
        bad_file_notice(tmp_path, "bad.png", NoticeCode.IMAGE_TOO_SMALL)

    def test_just_large_enough(self, tmp_path: Path) -> None:
        picture(5, 200, 16).save(fill(tmp_path) / "ann" / "2.png")
        assert read(tmp_path).notices == ()

    def test_formats_off_the_list_are_not_tried(self, tmp_path: Path) -> None:
        picture(5).save(fill(tmp_path) / "ann" / "bad.jpg", "EPS")
        bad_file_notice(tmp_path, "bad.jpg", NoticeCode.FILE_NOT_AN_IMAGE)

    def test_a_wrong_suffix_is_noticed_and_the_picture_used(self, tmp_path: Path) -> None:
        picture(5).save(fill(tmp_path) / "ann" / "2.jpg", "PNG")
        collection = read(tmp_path)
        notice = only_notice(collection)
        assert (notice.code, notice.file) == (NoticeCode.SUFFIX_MISLEADING, "2.jpg")
        assert "PNG" in notice.message
        assert collection.artists[0].files == ("0.png", "1.png", "2.jpg")

    def test_permission_denied(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        picture(5).save(fill(tmp_path) / "ann" / "bad.png")
        really_open = os.open

        def refuse(path: Path, *rest: int) -> int:
            if Path(path).name == "bad.png":
                raise PermissionError(13, "Permission denied")
            return really_open(path, *rest)

        monkeypatch.setattr(os, "open", refuse)
        assert "Permission denied" in bad_file_notice(tmp_path, "bad.png", NoticeCode.FILE_UNREADABLE).message

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in the file system")
    def test_a_pipe_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(fill(tmp_path) / "ann" / "bad.png")
        bad_file_notice(tmp_path, "bad.png", NoticeCode.FILE_UNREADABLE)

    def test_links_are_not_followed(self, tmp_path: Path) -> None:
        fill(tmp_path / "set")
        picture(77).save(tmp_path / "outside.png")
        (tmp_path / "outside").mkdir()
        picture(78).save(tmp_path / "outside" / "0.png")
        (tmp_path / "set" / "ann" / "bad.png").symlink_to(tmp_path / "outside.png")
        (tmp_path / "set" / "linked-artist").symlink_to(tmp_path / "outside", target_is_directory=True)
        collection = read(tmp_path / "set")
        assert [(notice.code, notice.artist, notice.file) for notice in collection.notices] == [
            (NoticeCode.LINK_NOT_FOLLOWED, "", "linked-artist"),
            (NoticeCode.LINK_NOT_FOLLOWED, "ann", "bad.png"),
        ]
        assert [artist.artist for artist in collection.artists] == ["ann", "bob"]

    @pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
    @pytest.mark.parametrize("name", ["two\nlines", "bell\x07", "reversed\u202egnp", "   "])
    def test_deceptive_names(self, tmp_path: Path, name: str) -> None:
        fill(tmp_path, "ann", "bob", name)
        picture(6).save(tmp_path / "ann" / f"{name}.png")
        collection = read(tmp_path)
        assert [artist.artist for artist in collection.artists] == ["ann", "bob"]
        assert {notice.code for notice in collection.notices} == {NoticeCode.NAME_REFUSED} or name == "   "
        for notice in collection.notices:
            assert (notice.artist + (notice.file or "") + str(notice)).isprintable()

    @pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
    def test_undecodable_names(self, tmp_path: Path) -> None:
        fill(tmp_path)
        try:
            (tmp_path / os.fsdecode(b"\xff\xfe")).mkdir()
        except OSError:
            pytest.skip("this file system refuses names that are not UTF-8")
        assert only_notice(read(tmp_path)).code is NoticeCode.NAME_REFUSED

    def test_two_names_with_the_same_normal_form(self, tmp_path: Path) -> None:
        fill(tmp_path, "ann", unicodedata.normalize("NFC", "zoë"))
        try:
            fill(tmp_path, unicodedata.normalize("NFD", "zoë"))
        except FileExistsError:
            pytest.skip("this file system does not tell the two names apart")
        collection = read(tmp_path)
        assert len(collection.artists) == 2
        assert only_notice(collection).code is NoticeCode.NAME_REFUSED

    def test_a_work_never_pushes_out_another_with_the_same_normal_form(self, tmp_path: Path) -> None:
        fill(tmp_path)
        names = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
        for number, name in enumerate(names):
            picture(500 + number).save(tmp_path / "ann" / name)
        if len(list((tmp_path / "ann").iterdir())) < 4:
            pytest.skip("this file system does not tell the two names apart")
        collection = read(tmp_path)
        assert not collection.notices
        assert collection.artists[0].files == ("0.png", "1.png", "é.png", "é (2).png")


class TestOddFolders:
    def test_hidden_and_system_files_are_passed_over_in_silence(self, tmp_path: Path) -> None:
        fill(tmp_path)
        for place in (tmp_path, tmp_path / "ann"):
            (place / ".hidden.png").write_bytes(b"x")
            (place / "Thumbs.db").write_bytes(b"x")
            (place / ".git").mkdir()
            (place / "__MACOSX").mkdir()
        assert read(tmp_path).notices == ()

    def test_other_files_get_one_notice_per_artist(self, tmp_path: Path) -> None:
        fill(tmp_path)
        (tmp_path / "index.csv").write_text("file,title")
        for name in ("a.txt", "b.txt", "list.csv", "LICENSE", "photo.heic"):
            (tmp_path / "ann" / name).write_text("x")
        notice = only_notice(read(tmp_path))
        assert (notice.code, notice.artist, notice.file) == (NoticeCode.OTHER_FILES_IGNORED, "ann", None)
        for part in ("5 files", ".txt (2)", ".csv (1)", "no ending (1)", ".heic (1)"):
            assert part in notice.message

    def test_nested_folders(self, tmp_path: Path) -> None:
        fill(tmp_path)
        fill(tmp_path / "ann" / "series", "one")
        notice = only_notice(read(tmp_path))
        assert (notice.code, notice.artist) == (NoticeCode.SUBFOLDER_IGNORED, "ann")

    def test_loose_pictures(self, tmp_path: Path) -> None:
        picture(1).save(fill(tmp_path) / "loose.png")
        assert only_notice(read(tmp_path)).code is NoticeCode.LOOSE_IMAGES_IGNORED

    def test_one_more_work_never_pushes_another_one_out(self, tmp_path: Path) -> None:
        before = read(fill(tmp_path, works=300)).artists[0]
        picture(9999).save(tmp_path / before.artist / "000-first.png")
        after = read(tmp_path).artists[0]
        assert set(after.files) == {*before.files, "000-first.png"}

    def test_artist_with_too_few_works(self, tmp_path: Path) -> None:
        fill(tmp_path, works=3)
        fill(tmp_path, "few", works=2)
        (tmp_path / "none").mkdir()
        collection = read(tmp_path, minimum_per_artist=3)
        assert [artist.artist for artist in collection.artists] == ["ann", "bob"]
        assert [(notice.code, notice.artist) for notice in collection.notices] == [
            (NoticeCode.ARTIST_LEFT_OUT, "few"),
            (NoticeCode.ARTIST_LEFT_OUT, "none"),
        ]
        assert "2 readable works, 3 are needed" in collection.notices[0].message
        assert "no readable works" in collection.notices[1].message

    def test_too_few_artists(self, tmp_path: Path) -> None:
        fill(tmp_path, "ann", works=2)
        fill(tmp_path, "few", works=1)
        (tmp_path / "none").mkdir()
        (tmp_path / "none" / "bad.png").write_bytes(b"")
        with pytest.raises(ArtworkError) as caught:
            read(tmp_path, minimum_per_artist=2)
        assert caught.value.code is ErrorCode.ARTWORKS_TOO_FEW_ARTISTS
        assert caught.value.exit_code is ExitCode.USAGE
        assert "few: 1 readable works, 2 are needed" in caught.value.message
        assert "none: no readable works" in caught.value.message

    def test_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ArtworkError) as caught:
            read(tmp_path)
        assert caught.value.code is ErrorCode.ARTWORKS_TOO_FEW_ARTISTS

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ArtworkError, match="does not exist") as caught:
            read(tmp_path / "nowhere")
        assert caught.value.code is ErrorCode.ARTWORKS_FOLDER_MISSING

    def test_file_instead_of_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(ArtworkError, match="is not a folder") as caught:
            read(tmp_path / "file")
        assert caught.value.code is ErrorCode.ARTWORKS_FOLDER_MISSING

    @pytest.mark.parametrize("closed", ["", "ann"])
    def test_folder_that_may_not_be_listed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
    ) -> None:
        fill(tmp_path, "ann", "bob", "cat")
        really_scan = os.scandir

        def refuse(path: Path) -> object:
            if Path(path) == tmp_path / closed:
                raise PermissionError(13, "Permission denied")
            return really_scan(path)

        monkeypatch.setattr(os, "scandir", refuse)
        if closed:
            notice = only_notice(read(tmp_path))
            assert (notice.code, notice.artist) == (NoticeCode.ARTIST_LEFT_OUT, "ann")
            assert "Permission denied" in notice.message
        else:
            with pytest.raises(ArtworkError, match="Permission denied"):
                read(tmp_path)

    def test_endless_folders_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fill(tmp_path, "ann", "bob", "cat", works=2)
        picture(50).save(tmp_path / "cat" / "2.png")
        monkeypatch.setattr(folder_module, "MOST_FILES_PER_ARTIST", 2)
        notice = only_notice(read(tmp_path))
        assert (notice.code, notice.artist) == (NoticeCode.ARTIST_LEFT_OUT, "cat")
        monkeypatch.setattr(folder_module, "MOST_ARTIST_FOLDERS", 2)
        with pytest.raises(ArtworkError) as caught:
            read(tmp_path)
        assert caught.value.code is ErrorCode.ARTWORKS_TOO_MANY_ARTISTS

    def test_senseless_limit(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            read_artworks(tmp_path, minimum_per_artist=0)
