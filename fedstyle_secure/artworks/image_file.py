"""One image file, possibly hostile, to one square of pixels; nothing else of the file survives.

Flows in: a path. Flows out: an sRGB square, a hash of the decoded picture, and which format it was. Never
passed on: EXIF (GPS positions, camera numbers, thumbnails), XMP, comments, colour profiles, further frames.

The file's size and the picture's dimensions are checked before a single pixel is decoded, and only formats on
a short list are tried: Pillow also reads formats that start other programs (EPS) or that hardly anybody
tests.
"""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from fedstyle_secure.artworks.collection import NoticeCode

__all__ = [
    "IMAGE_SUFFIXES",
    "LARGEST_FILE_BYTES",
    "LARGEST_IMAGE_PIXELS",
    "SMALLEST_SIDE_PX",
    "DecodedImage",
    "ImageProblem",
    "decode_image",
]

LARGEST_IMAGE_PIXELS = 64_000_000
LARGEST_FILE_BYTES = 512 * 1024 * 1024
SMALLEST_SIDE_PX = 16

# Suffix -> the format that Pillow should find in such a file.
IMAGE_SUFFIXES: Mapping[str, str] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".mpo": "JPEG",
    ".png": "PNG",
    ".apng": "PNG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".dib": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jp2": "JPEG2000",
    ".j2k": "JPEG2000",
    ".avif": "AVIF",
}
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "AVIF")
_SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}
_STRIP_ROWS = 256
_EXIF_ORIENTATION = 0x0112
_TURNS = {  # how to bring a picture upright, by its orientation tag (TIFF 6.0, section 8; EXIF takes it over)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_REPLACE = "Open it in an image editor and save it again as PNG or JPEG, or take it out of the folder."


class ImageProblem(Exception):
    """A file gave no picture. The texts name no file: whoever asked for it knows which it was.

    Args:
        code: what was wrong.
        message: a sentence about it.
        fix: what to do.
    """

    def __init__(self, code: NoticeCode, message: str, *, fix: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix


@dataclass(frozen=True)
class DecodedImage:
    """The pixels of one file.

    Args:
        pixels: the centre square, sRGB.
        digest: SHA-256 of the whole upright picture at its full size, to find the same picture twice.
        format_name: format that was found in the file.
    """

    pixels: UInt8[np.ndarray, "side side 3"]
    digest: bytes
    format_name: str


def decode_image(path: Path, *, image_size: int, follow_links: bool) -> DecodedImage:
    """Read one file as an upright sRGB square.

    The first frame is taken, turned upright by its EXIF orientation, laid on white where it is transparent,
    cropped to the square in its centre and resized. Embedded colour profiles are not applied.

    Args:
        path: the file.
        image_size: side of the square in pixels.
        follow_links: read through a symbolic link; refused otherwise.

    Returns:
        The pixels; no metadata.

    Raises:
        ImageProblem: it cannot be opened, or is empty, damaged, too large, too small, a link or no picture.
    """
    with _opened(path, follow_links=follow_links) as file, warnings.catch_warnings():
        # Pillow warns about odd metadata and large pictures: the one is dropped, the other checked here.
        warnings.simplefilter("ignore")
        image = _identified(file)
        _check_dimensions(*image.size)
        format_name = str(image.format)
        image = _loaded(image)
        upright = _rgb(image)
    del image  # two copies of a large picture are enough
    side = min(upright.size)
    left, top = (upright.width - side) // 2, (upright.height - side) // 2
    square = upright.crop((left, top, left + side, top + side))
    square = square.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return DecodedImage(
        pixels=np.array(square, dtype=np.uint8),
        digest=_digest(upright),
        format_name=_SAME_FORMAT.get(format_name, format_name),
    )


def _opened(path: Path, *, follow_links: bool) -> BinaryIO:
    """Open a regular file of a sane size, without waiting for pipes or following links."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    if not follow_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        number = os.open(path, flags)
        status = os.fstat(number)
    except (OSError, ValueError) as problem:  # ValueError: the path holds a zero byte
        reason = getattr(problem, "strerror", None) or type(problem).__name__
        raise ImageProblem(
            NoticeCode.FILE_UNREADABLE,
            f"The file cannot be opened ({reason}).",
            fix="Check that it exists and that your user may read it, or take it out of the folder.",
        ) from problem
    try:
        _check_file(status)
    except ImageProblem:
        os.close(number)
        raise
    return os.fdopen(number, "rb")


def _check_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ImageProblem(
            NoticeCode.FILE_UNREADABLE,
            "This is not a regular file.",
            fix="Put the picture itself here, as a file.",
        )
    if status.st_size == 0:
        raise ImageProblem(
            NoticeCode.FILE_EMPTY,
            "The file is empty (0 bytes).",
            fix="Copy it again from its source, or delete it.",
        )
    if status.st_size > LARGEST_FILE_BYTES:
        raise ImageProblem(
            NoticeCode.IMAGE_TOO_LARGE,
            f"The file has {status.st_size:,} bytes; at most {LARGEST_FILE_BYTES:,} are read.",
            fix="Save a smaller version; 1000 pixels a side are plenty.",
        )


def _identified(file: BinaryIO) -> Image.Image:
    Image.init()
    try:
        return Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN])
    except UnidentifiedImageError as problem:
        raise ImageProblem(
            NoticeCode.FILE_NOT_AN_IMAGE,
            "The file holds no picture in a known format, or its beginning is damaged.",
            fix=_REPLACE,
        ) from problem
    except Image.DecompressionBombError as problem:
        raise _too_large("The picture is far too large.") from problem
    except Exception as problem:  # a parser of hostile bytes: Pillow promises no closed list of exceptions
        raise _damaged(problem) from problem


def _check_dimensions(width: int, height: int) -> None:
    if width * height > LARGEST_IMAGE_PIXELS:
        raise _too_large(f"The picture has {width} x {height} pixels.")
    if min(width, height) < SMALLEST_SIDE_PX:
        raise ImageProblem(
            NoticeCode.IMAGE_TOO_SMALL,
            f"The picture has {width} x {height} pixels; its shorter side needs {SMALLEST_SIDE_PX} or more.",
            fix="Use a larger version; 128 pixels or more on the shorter side show a style well.",
        )


def _loaded(image: Image.Image) -> Image.Image:
    """Decode the first frame and turn it upright."""
    try:
        image.load()
    except MemoryError as problem:
        raise _too_large("The picture needs more memory than there is.") from problem
    except Exception as problem:  # see _identified
        raise _damaged(problem) from problem
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # the pixels are sound; a broken note about them must not cost the artist the work
        orientation = 1
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    """The picture as plain RGB on white. Goes in strips, so that a large picture exists only twice."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    darkest, brightest = _range(image)
    plain = Image.new("RGB", image.size)
    try:
        for top in range(0, image.height, _STRIP_ROWS):
            strip = image.crop((0, top, image.width, min(top + _STRIP_ROWS, image.height)))
            plain.paste(_strip_rgb(strip, darkest, brightest), (0, top))
    except Exception as problem:  # a colour mode that Pillow reads but cannot convert, such as Lab
        raise _damaged(problem) from problem
    return plain


def _range(image: Image.Image) -> tuple[float, float]:
    """Black and white of the picture's mode; where files do not say it, it follows from the largest value."""
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    if image.mode in ("I", "F"):
        largest = float(np.nan_to_num(np.asarray(image, dtype=np.float32)).max())
        return 0.0, next((white for white in (1.0, 255.0, 65535.0) if largest <= white), max(largest, 1.0))
    return 0.0, 255.0


def _strip_rgb(strip: Image.Image, darkest: float, brightest: float) -> Image.Image:
    if strip.mode in ("I", "F") or strip.mode.startswith("I;16"):
        values = np.nan_to_num(np.asarray(strip, dtype=np.float32))
        grey = np.clip((values - darkest) / (brightest - darkest) * 255 + 0.5, 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if not strip.has_transparency_data:
        return strip.convert("RGB")
    opaque = Image.new("RGBA", strip.size, (255, 255, 255, 255))
    opaque.alpha_composite(strip.convert("RGBA"))
    return opaque.convert("RGB")


def _digest(picture: Image.Image) -> bytes:
    digest = hashlib.sha256(f"{picture.width}x{picture.height}".encode())
    for top in range(0, picture.height, _STRIP_ROWS):
        digest.update(picture.crop((0, top, picture.width, min(top + _STRIP_ROWS, picture.height))).tobytes())
    return digest.digest()


def _too_large(message: str) -> ImageProblem:
    return ImageProblem(
        NoticeCode.IMAGE_TOO_LARGE,
        f"{message} At most {LARGEST_IMAGE_PIXELS // 1_000_000} megapixels are decoded, to keep memory safe.",
        fix="Save a smaller version; 1000 pixels a side are plenty.",
    )


def _damaged(problem: Exception) -> ImageProblem:
    return ImageProblem(
        NoticeCode.FILE_DAMAGED,
        "The picture is cut off or damaged, or uses a feature that cannot be read "
        f"({type(problem).__name__}).",
        fix=_REPLACE,
    )
