"""A folder per artist, as people have them, to artworks in memory.

Flows in: a folder with one sub-folder per artist. Flows out: an `ArtworkCollection` of square images, with a
notice for everything that was left out or is odd. Never passed on: metadata, full-size pictures, paths.

Files are opened one at a time, links are never followed, and nothing is written.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fedstyle_secure.artworks.collection import ArtistWorks, ArtworkCollection, Notice, NoticeCode
from fedstyle_secure.artworks.image_file import IMAGE_SUFFIXES, ImageProblem, decode_image
from fedstyle_secure.artworks.names import is_printable_name, normal_name, shown_name
from fedstyle_secure.errors import ArtworkError, ErrorCode

__all__ = ["MOST_ARTIST_FOLDERS", "MOST_FILES_PER_ARTIST", "read_artworks", "read_image"]

MOST_ARTIST_FOLDERS = 10_000
MOST_FILES_PER_ARTIST = 50_000
_LAYOUT = "Make a folder with one sub-folder per artist, and put each artist's pictures into it."
_MADE_BY_SYSTEMS = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_MOST_NAMED = 10


def read_artworks(
    folder: Path,
    *,
    minimum_per_artist: int,
    minimum_artists: int = 2,
    image_size: int = 128,
) -> ArtworkCollection:
    """Read the works of several artists from a folder per artist.

    Args:
        folder: holds one sub-folder per artist; its name is the artist's name.
        minimum_per_artist: an artist with fewer readable works is left out.
        minimum_artists: fewer are an error.
        image_size: side of the squares in pixels.

    Returns:
        The artists sorted by name, their works sorted by file name, and notices in a fixed order.

    Raises:
        ArtworkError: the folder is missing, cannot be listed or holds too many entries, or too few artists
            remain.
        ValueError: a limit makes no sense.
    """
    if minimum_per_artist < 1:
        raise ValueError(f"{minimum_per_artist=} must be at least 1")
    _check_size(image_size)
    notices: list[Notice] = []
    artists: list[ArtistWorks] = []
    left_out: dict[str, str] = {}
    for artist, path in _artist_folders(folder, notices).items():
        reader = _ArtistReader(artist, path, image_size=image_size)
        works, reason = reader.read(least=minimum_per_artist)
        notices += reader.notices
        if works is None:
            left_out[artist] = reason
        else:
            artists.append(works)
    if len(artists) < minimum_artists:
        raise _too_few(len(artists), minimum_artists, left_out)
    return ArtworkCollection(
        artists=tuple(artists), notices=tuple(notices), name=shown_name(normal_name(folder.resolve().name))
    )


def read_image(path: Path, *, image_size: int = 128) -> UInt8[np.ndarray, "height width 3"]:
    """Read one picture, for a search by image.

    Args:
        path: a picture in any format that `read_artworks` reads; its suffix does not matter.
        image_size: side of the square in pixels.

    Returns:
        The picture's centre as an sRGB square.

    Raises:
        ArtworkError: there is no such file, or it holds no picture that can be read.
        ValueError: `image_size` makes no sense.
    """
    _check_size(image_size)
    try:
        return decode_image(path, image_size=image_size, follow_links=True).pixels
    except ImageProblem as problem:
        raise ArtworkError(
            ErrorCode.ARTWORK_UNREADABLE, f"{shown_name(path.name)}: {problem.message}", fix=problem.fix
        ) from problem


def _check_size(image_size: int) -> None:
    if not 16 <= image_size <= 4096:
        raise ValueError(f"image_size must be 16..4096 pixels, not {image_size}")


def _too_few(remaining: int, needed: int, left_out: Mapping[str, str]) -> ArtworkError:
    named = [f"{artist}: {reason}" for artist, reason in list(left_out.items())[:_MOST_NAMED]]
    if len(left_out) > _MOST_NAMED:
        named.append(f"and {len(left_out) - _MOST_NAMED} more")
    reasons = f" Left out: {'; '.join(named)}." if named else " There is no sub-folder with artworks."
    return ArtworkError(
        ErrorCode.ARTWORKS_TOO_FEW_ARTISTS,
        f"{needed} artists are needed, and {remaining} can take part.{reasons}",
        fix=_LAYOUT,
    )


def _artist_folders(folder: Path, notices: list[Notice]) -> dict[str, Path]:
    """The sub-folders by artist, sorted by the artist's name; adds notices about everything else."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry, _ in zip(entries, range(MOST_ARTIST_FOLDERS + 1), strict=False)]
    except (FileNotFoundError, NotADirectoryError) as problem:
        what = "is not a folder" if isinstance(problem, NotADirectoryError) else "does not exist"
        raise ArtworkError(
            ErrorCode.ARTWORKS_FOLDER_MISSING, f"{shown_name(str(folder))} {what}.", fix=_LAYOUT
        ) from problem
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or type(problem).__name__
        raise ArtworkError(
            ErrorCode.ARTWORKS_FOLDER_MISSING,
            f"{shown_name(str(folder))} cannot be listed ({reason}).",
            fix="Allow your user to read this folder.",
        ) from problem
    if len(found) > MOST_ARTIST_FOLDERS:
        raise ArtworkError(
            ErrorCode.ARTWORKS_TOO_MANY_ARTISTS,
            f"{shown_name(str(folder))} holds more than {MOST_ARTIST_FOLDERS} entries.",
            fix=_LAYOUT,
        )
    artists: dict[str, Path] = {}
    loose_images = 0
    for entry in sorted(found, key=_sorting_key):
        if _is_hidden(entry.name):
            continue
        name = normal_name(entry.name)
        if _is_link(entry):
            notices.append(_link_notice("", shown_name(name)))
        elif not entry.is_dir(follow_symlinks=False):
            loose_images += Path(name).suffix.lower() in IMAGE_SUFFIXES
        elif not is_printable_name(name) or name in artists:
            notices.append(_name_notice(shown_name(name), None, taken=name in artists))
        else:
            artists[name] = Path(entry.path)
    if loose_images:
        notices.append(
            Notice(
                NoticeCode.LOOSE_IMAGES_IGNORED,
                "",
                None,
                f"{loose_images} pictures lie beside the artists' folders and were ignored.",
                _LAYOUT,
            )
        )
    return artists


def _sorting_key(entry: os.DirEntry[str]) -> tuple[str, str]:
    return normal_name(entry.name), entry.name


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _MADE_BY_SYSTEMS


def _is_link(entry: os.DirEntry[str]) -> bool:
    """A symbolic link, or a junction on Windows (known to Python from 3.12 on)."""
    is_junction = getattr(entry, "is_junction", None)
    return entry.is_symlink() or bool(is_junction and is_junction())


def _link_notice(artist: str, file: str) -> Notice:
    return Notice(
        NoticeCode.LINK_NOT_FOLLOWED,
        artist,
        file,
        "This is a link; links are not followed, since they may lead out of the folder.",
        "Put the file or folder itself here.",
    )


def _name_of_its_own(name: str, taken: Mapping[str, Path]) -> str:
    path, number = Path(name), 2
    while name in taken:
        name = f"{path.stem} ({number}){path.suffix}"
        number += 1
    return name


def _name_notice(artist: str, file: str | None, *, taken: bool) -> Notice:
    wrong = (
        "Another name here is the same in Unicode normal form C"
        if taken
        else "The name is blank or holds control characters"
    )
    return Notice(NoticeCode.NAME_REFUSED, artist, file, f"{wrong}; it was left out.", "Rename it.")


@dataclass
class _ArtistReader:
    """Reads one artist's folder and gathers notices on the way."""

    artist: str
    path: Path
    image_size: int
    notices: list[Notice] = field(default_factory=list)

    def read(self, *, least: int) -> tuple[ArtistWorks | None, str]:
        """The artist's works, or None and the reason why the artist is left out."""
        works, reason = self._read(least)
        if works is None:
            message = f"This artist was left out: {reason}."
            fix = f"Give {least} or more different, readable pictures to take part."
            self._note(NoticeCode.ARTIST_LEFT_OUT, None, message, fix)
        return works, reason

    def _read(self, least: int) -> tuple[ArtistWorks | None, str]:
        try:
            with os.scandir(self.path) as entries:
                found = [entry for entry, _ in zip(entries, range(MOST_FILES_PER_ARTIST + 1), strict=False)]
        except OSError as problem:
            return None, f"the folder cannot be listed ({problem.strerror or type(problem).__name__})"
        if len(found) > MOST_FILES_PER_ARTIST:
            return None, f"the folder holds more than {MOST_FILES_PER_ARTIST} entries"
        images, files = self._decode(self._pictures(sorted(found, key=_sorting_key)))
        if len(images) < least:
            return None, f"{len(images) or 'no'} readable works, {least} are needed"
        return ArtistWorks(artist=self.artist, images=np.stack(images), files=tuple(files)), ""

    def _pictures(self, entries: Sequence[os.DirEntry[str]]) -> dict[str, Path]:
        """The files whose suffix is that of a picture, by name; adds notices about the others."""
        pictures: dict[str, Path] = {}
        ignored: Counter[str] = Counter()
        subfolders = 0
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            name = normal_name(entry.name)
            suffix = Path(name).suffix.lower()
            if _is_link(entry):
                self.notices.append(_link_notice(self.artist, shown_name(name)))
            elif entry.is_dir(follow_symlinks=False):
                subfolders += 1
            elif suffix not in IMAGE_SUFFIXES:
                ignored[shown_name(suffix) or "no ending"] += 1
            elif not is_printable_name(name):
                self.notices.append(_name_notice(self.artist, shown_name(name), taken=False))
            else:
                # Two names that look the same are two works: neither may push the other one out.
                pictures[_name_of_its_own(name, pictures)] = Path(entry.path)
        if subfolders:
            self._note(
                NoticeCode.SUBFOLDER_IGNORED,
                None,
                f"{subfolders} folders inside this artist's folder were ignored.",
                "Move pictures that belong to the artist up into the artist's folder.",
            )
        if ignored:
            kinds = ", ".join(f"{suffix} ({count})" for suffix, count in ignored.most_common(_MOST_NAMED))
            self._note(
                NoticeCode.OTHER_FILES_IGNORED,
                None,
                f"{ignored.total()} files with other endings were ignored: {kinds}.",
                "If they are artworks, save them as PNG or JPEG.",
            )
        return pictures

    def _decode(
        self, pictures: Mapping[str, Path]
    ) -> tuple[list[UInt8[np.ndarray, "side side 3"]], list[str]]:
        images: list[UInt8[np.ndarray, "side side 3"]] = []
        first_with: dict[bytes, str] = {}
        # However many there are, all are used: under a limit, one more work would push another one out, and
        # the guarantee for one work would have to cover two.
        for name, path in pictures.items():
            try:
                decoded = decode_image(path, image_size=self.image_size, follow_links=False)
            except ImageProblem as problem:
                self._note(problem.code, name, problem.message, problem.fix)
                continue
            if decoded.digest in first_with:
                # Counted twice, a work would weigh twice, and the guarantee for one work would not cover it.
                original = first_with[decoded.digest]
                self._note(
                    NoticeCode.DUPLICATE_LEFT_OUT,
                    name,
                    f"This is the same picture as {original}; it was left out: each work counts once.",
                    "Delete one of the two.",
                )
                continue
            self._note_suffix(name, decoded.format_name)
            first_with[decoded.digest] = name
            images.append(decoded.pixels)
        return images, list(first_with.values())

    def _note_suffix(self, name: str, format_name: str) -> None:
        if IMAGE_SUFFIXES[Path(name).suffix.lower()] != format_name:
            self._note(
                NoticeCode.SUFFIX_MISLEADING,
                name,
                f"The name ends in {Path(name).suffix}, but this is a {format_name} picture; it is used.",
                "Rename it if you like.",
            )

    def _note(self, code: NoticeCode, file: str | None, message: str, fix: str) -> None:
        self.notices.append(Notice(code, self.artist, file, message, fix))
