from __future__ import annotations

import numpy as np
import pytest

from fedstyle_secure.artworks.collection import ArtistWorks, ArtworkCollection, Notice, NoticeCode


def works(artist: str, count: int = 1) -> ArtistWorks:
    images = np.zeros((count, 8, 8, 3), dtype=np.uint8)
    return ArtistWorks(artist=artist, images=images, files=tuple(f"{number}.png" for number in range(count)))


@pytest.mark.parametrize("names", [("b", "a"), ("a", "a")])
def test_artists_are_sorted_and_unique(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="sorted by name"):
        ArtworkCollection(artists=tuple(map(works, names)), notices=(), name="x")
    ArtworkCollection(artists=(works("a"), works("b")), notices=(), name="x")


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 8, 8), dtype=np.uint8),
        np.zeros((1, 8, 8, 4), dtype=np.uint8),
        np.zeros((1, 8, 8, 3), dtype=np.float32),
        np.zeros((2, 8, 8, 3), dtype=np.uint8),
    ],
)
def test_images_must_match_their_description(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"images"):
        ArtistWorks(artist="a", images=images, files=("0.png",))


def test_a_notice_reads_as_a_sentence() -> None:
    assert str(Notice(NoticeCode.FILE_EMPTY, "ann", "a.jpg", "It is empty.", "Delete it.")) == (
        "ann/a.jpg: It is empty. Delete it."
    )
    assert str(Notice(NoticeCode.LOOSE_IMAGES_IGNORED, "", None, "Two.", "Move them.")) == "Two. Move them."
