from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedstyle_secure.artworks.folder import read_image
from fedstyle_secure.errors import ArtworkError, ErrorCode


def picture(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


class TestPixels:
    @pytest.mark.parametrize(
        "name", ["a.png", "a.jpg", "a.JPEG", "a.webp", "a.gif", "a.bmp", "a.tif", "a.tiff", "a.jp2"]
    )
    def test_common_formats_are_read(self, tmp_path: Path, name: str) -> None:
        picture(1, 64, 64).save(tmp_path / name)
        pixels = read_image(tmp_path / name, image_size=64)
        difference = np.abs(pixels.astype(int) - np.asarray(picture(1, 64, 64)).astype(int))
        assert difference.mean() < 12  # GIF has 256 colours, JPEG is lossy

    def test_the_centre_square_is_taken(self, tmp_path: Path) -> None:
        wide = np.zeros((20, 60, 3), dtype=np.uint8)
        wide[:, 20:40] = (10, 200, 30)
        Image.fromarray(wide).save(tmp_path / "wide.png")
        Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "tall.png")
        for name in ("wide.png", "tall.png"):
            np.testing.assert_array_equal(
                read_image(tmp_path / name, image_size=16), np.full((16, 16, 3), (10, 200, 30))
            )

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_applied(self, tmp_path: Path, orientation: int) -> None:
        upright = np.asarray(picture(3, 24, 24))
        stored = {
            1: lambda a: a,
            2: lambda a: a[:, ::-1],
            3: lambda a: a[::-1, ::-1],
            4: lambda a: a[::-1],
            5: lambda a: a.transpose(1, 0, 2),
            6: lambda a: np.rot90(a, 1),  # the camera was turned; the viewer turns clockwise
            7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
            8: lambda a: np.rot90(a, -1),
        }[orientation](upright)
        exif = Image.Exif()
        exif[0x0112] = orientation
        for suffix in (".png", ".tif"):
            path = tmp_path / f"{orientation}{suffix}"
            Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
            np.testing.assert_array_equal(read_image(path, image_size=24), upright)

    def test_transparency_lies_on_white(self, tmp_path: Path) -> None:
        clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
        clear.paste((0, 0, 255, 255), (0, 0, 10, 20))
        clear.save(tmp_path / "a.png")
        clear.quantize(4).save(tmp_path / "palette.png")
        for name in ("a.png", "palette.png"):
            pixels = read_image(tmp_path / name, image_size=20)
            assert tuple(pixels[10, 2]) == (0, 0, 255)
            assert tuple(pixels[10, 17]) == (255, 255, 255)

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "I;16", "F"])
    def test_colour_modes_become_rgb(self, tmp_path: Path, mode: str) -> None:
        ramp = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (32, 1))
        if mode == "I;16":
            image = Image.fromarray(ramp.astype(np.uint16) * 257)
        elif mode == "F":
            image = Image.fromarray(ramp.astype(np.float32) / 255)
        else:
            image = Image.fromarray(ramp).convert("RGB")
            image = image.quantize(64) if mode == "P" else image.convert(mode)
        path = tmp_path / f"ramp{'.png' if mode in ('LA', 'P', '1') else '.tif'}"
        image.save(path)
        pixels = read_image(path, image_size=32).astype(int)
        assert np.ptp(pixels, axis=-1).max() < 12  # grey stays grey
        assert np.abs(pixels[..., 0] - ramp).mean() < (130 if mode == "1" else 4)
        assert pixels[:, 0].mean() < 20
        assert pixels[:, -1].mean() > 235

    def test_a_large_picture_is_converted_in_strips_without_a_seam(self, tmp_path: Path) -> None:
        Image.new("LA", (40, 1200), (77, 128)).save(tmp_path / "tall.png")
        expected = round(77 * 128 / 255 + 255 * 127 / 255)
        assert np.abs(read_image(tmp_path / "tall.png", image_size=40).astype(int) - expected).max() <= 1


class TestReadImage:
    def test_link_is_followed_because_the_user_named_it(self, tmp_path: Path) -> None:
        picture(1, 32, 32).save(tmp_path / "a.png")
        (tmp_path / "link").symlink_to(tmp_path / "a.png")
        np.testing.assert_array_equal(
            read_image(tmp_path / "link", image_size=32), np.asarray(picture(1, 32, 32))
        )

    @pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "bomb", "zero byte"])
    def test_errors_have_a_name_and_a_way_out(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / ("zero\0byte.png" if kind == "zero byte" else "query.png")
        if kind == "folder":
            path.mkdir()
        elif kind in ("empty", "text", "bomb"):
            path.write_bytes({"empty": b"", "text": b"hello", "bomb": png_header(50_000, 50_000)}[kind])
        with pytest.raises(ArtworkError) as caught:
            read_image(path)
        assert caught.value.code is ErrorCode.ARTWORK_UNREADABLE
        assert caught.value.message.startswith(
            "query.png: " if kind != "zero byte" else "zero\\x00byte.png: "
        )
        assert caught.value.fix
        assert str(tmp_path) not in str(caught.value)

    @pytest.mark.parametrize("image_size", [0, 15, 5000])
    def test_senseless_size(self, tmp_path: Path, image_size: int) -> None:
        with pytest.raises(ValueError, match="image_size"):
            read_image(tmp_path / "a.png", image_size=image_size)
