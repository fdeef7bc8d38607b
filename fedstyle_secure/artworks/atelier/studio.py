"""Whole collections by invented painters, for demonstrations, for tests and as public data.

Flows in: counts and a seed. Flows out: an `ArtworkCollection`, or a folder of PNG files. Never seen here:
real artworks.

The same arguments give the same bytes in every run, process and order, under the same versions of numpy,
SciPy and Pillow on the same kind of processor.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from fedstyle_secure.artworks.atelier.families import Family
from fedstyle_secure.artworks.atelier.paint import paint_work
from fedstyle_secure.artworks.atelier.painter import Painter, sample_painter
from fedstyle_secure.artworks.atelier.streams import stream
from fedstyle_secure.artworks.collection import ArtistWorks, ArtworkCollection
from fedstyle_secure.errors import ErrorCode, SetupError

__all__ = ["demo_painter", "paint_atelier", "paint_public_painters", "public_painter", "write_atelier"]

_Domain = Literal["demo", "public"]
_SMALLEST_IMAGE_PX = 32


def demo_painter(index: int, *, seed: int) -> Painter:
    """The description of a painter of `paint_atelier`, counted from 0."""
    return _painter("demo", seed, index)


def public_painter(index: int) -> Painter:
    """The description of a painter of `paint_public_painters`, counted from 0."""
    return _painter("public", 0, index)


def paint_atelier(*, artists: int, works: int, seed: int, image_size: int = 128) -> ArtworkCollection:
    """Paint the works of invented artists for demonstrations and tests.

    The first 13 painters each belong to another family of marks. A painter's works do not depend on how many
    painters or works are asked for.

    Args:
        artists: number of painters.
        works: works by each.
        seed: another seed gives other painters.
        image_size: side of a work in pixels; 128 is what the project works with.

    Returns:
        Artists `painter-01`, `painter-02`, ...

    Raises:
        ValueError: a count is below 1 or the size below 32.
    """
    _check(image_size, artists=artists, works=works)
    digits = max(2, len(str(artists)))
    painted = tuple(
        _works(
            f"painter-{index + 1:0{digits}d}", "demo", seed=seed, index=index, works=works, side=image_size
        )
        for index in range(artists)
    )
    return ArtworkCollection(artists=painted, notices=(), name=f"atelier-{seed}")


def paint_public_painters(first: int, count: int, works: int, *, image_size: int = 128) -> ArtworkCollection:
    """Paint works by public painters, who never appear in `paint_atelier`, whatever its seed.

    The two kinds draw from streams of different names, so no statistic of public painters has seen a demo
    painter.

    Args:
        first: number of the first painter, from 0.
        count: number of painters.
        works: works by each.
        image_size: side of a work in pixels.

    Returns:
        Artists `public-painter-0000001`, ...; numbers go on from call to call: a caller can work in
        batches.

    Raises:
        ValueError: a count is below 1, `first` below 0, or the size below 32.
    """
    _check(image_size, count=count, works=works)
    if first < 0:
        raise ValueError(f"first must be 0 or more, not {first}")
    painted = tuple(
        _works(f"public-painter-{index + 1:07d}", "public", seed=0, index=index, works=works, side=image_size)
        for index in range(first, first + count)
    )
    return ArtworkCollection(artists=painted, notices=(), name=f"public-painters-{first}-{first + count - 1}")


def write_atelier(collection: ArtworkCollection, folder: Path) -> None:
    """Write a collection as PNG files, one folder per artist, in the layout that `read_artworks` reads.

    Args:
        collection: what to write.
        folder: a folder that does not exist yet or is empty. It appears when it is complete.

    Raises:
        SetupError: the folder is not empty or cannot be written.
    """
    partial_folder = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise SetupError(
                ErrorCode.OUTPUT_NOT_WRITABLE,
                f"The folder {folder} is not empty.",
                fix="Name a new or an empty folder; artworks of two sources are better not mixed.",
            )
        partial_folder.mkdir(parents=True)
        for artist in collection.artists:
            (partial_folder / artist.artist).mkdir()
            for name, image in zip(artist.files, artist.images, strict=True):
                Image.fromarray(image).save(partial_folder / artist.artist / f"{Path(name).stem}.png", "PNG")
        if folder.exists():
            folder.rmdir()
        partial_folder.rename(folder)
    except OSError as problem:
        raise SetupError(
            ErrorCode.OUTPUT_NOT_WRITABLE,
            f"The folder {folder} cannot be written ({problem.strerror or type(problem).__name__}).",
            fix="Name a folder that you may write to, on a disk with free space.",
        ) from problem
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)


def _painter(domain: _Domain, seed: int, index: int) -> Painter:
    """Painter `index` of a domain. Families are dealt like cards, each once before any comes again."""
    families = list(Family)
    deal = stream(domain, seed, "families", index // len(families)).permutation(len(families))
    family = families[int(deal[index % len(families)])]
    return sample_painter(stream(domain, seed, "painter", index), family)


def _works(artist: str, domain: _Domain, *, seed: int, index: int, works: int, side: int) -> ArtistWorks:
    painter = _painter(domain, seed, index)
    images = [
        paint_work(painter, partial(stream, domain, seed, "work", index, work), image_size=side)
        for work in range(works)
    ]
    digits = max(3, len(str(works)))
    files = tuple(f"{work + 1:0{digits}d}.png" for work in range(works))
    return ArtistWorks(artist=artist, images=np.stack(images), files=files)


def _check(image_size: int, **at_least_one: int) -> None:
    for name, value in at_least_one.items():
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, not {value}")
    if image_size < _SMALLEST_IMAGE_PX:
        raise ValueError(f"image_size must be {_SMALLEST_IMAGE_PX} or more, not {image_size}")
