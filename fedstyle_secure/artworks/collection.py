"""What every source of artworks hands over: images by artist, and notices about what was left out.

Flows in: decoded pixels. Flows out: one `ArtworkCollection`. Never seen here: files' metadata, features,
updates.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import UInt8

__all__ = ["ArtistWorks", "ArtworkCollection", "Notice", "NoticeCode"]


class NoticeCode(StrEnum):
    """Stable names of notices. Scripts may match on them; messages may change, codes do not."""

    # something about one file; unless the name says otherwise the run goes on without it
    FILE_EMPTY = "file-empty"
    FILE_NOT_AN_IMAGE = "file-not-an-image"
    FILE_DAMAGED = "file-damaged"
    FILE_UNREADABLE = "file-unreadable"
    IMAGE_TOO_LARGE = "image-too-large"
    IMAGE_TOO_SMALL = "image-too-small"
    DUPLICATE_LEFT_OUT = "duplicate-left-out"
    LINK_NOT_FOLLOWED = "link-not-followed"
    NAME_REFUSED = "name-refused"
    SUFFIX_MISLEADING = "suffix-misleading"  # the file is used
    # something about a whole folder
    SUBFOLDER_IGNORED = "subfolder-ignored"
    OTHER_FILES_IGNORED = "other-files-ignored"
    LOOSE_IMAGES_IGNORED = "loose-images-ignored"
    ARTIST_LEFT_OUT = "artist-left-out"


@dataclass(frozen=True)
class Notice:
    """One thing that the reader of a folder noticed and dealt with; the run goes on.

    Args:
        code: stable name of what happened.
        artist: folder name of the artist, or "" where it concerns the whole collection.
        file: file name inside the artist's folder, or None where it concerns the folder.
        message: what was noticed and what was done about it.
        fix: what the artist can do about it.
    """

    code: NoticeCode
    artist: str
    file: str | None
    message: str
    fix: str

    def __str__(self) -> str:
        place = "/".join(part for part in (self.artist, self.file) if part)
        return f"{place}: {self.message} {self.fix}" if place else f"{self.message} {self.fix}"


@dataclass(frozen=True)
class ArtistWorks:
    """The works of one artist, pixels only.

    Args:
        artist: name of the artist, unique in a collection.
        images: square sRGB images, 0..255.
        files: one name per image, unique within the artist, in the order of `images`.
    """

    artist: str
    images: UInt8[np.ndarray, "artworks height width 3"]
    files: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[-1] != 3 or self.images.dtype != np.uint8:
            raise ValueError("images must be an array of uint8 with the axes artworks, height, width, 3")
        if len(self.files) != len(self.images):
            raise ValueError(f"{len(self.images)} images but {len(self.files)} file names")

    def __repr__(self) -> str:
        return f"ArtistWorks(artist={self.artist!r}, artworks={len(self.files)})"


@dataclass(frozen=True)
class ArtworkCollection:
    """All artists of one run.

    Args:
        artists: sorted by name.
        notices: what was left out or is odd, in a fixed order.
        name: short name of the source, for people.
    """

    artists: tuple[ArtistWorks, ...]
    notices: tuple[Notice, ...]
    name: str

    def __post_init__(self) -> None:
        names = [works.artist for works in self.artists]
        if names != sorted(set(names)):
            raise ValueError("artists must be sorted by name, each name once")
