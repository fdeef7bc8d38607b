"""Make a public projection again: paint public painters, encode them, fit, write the file and print its hash.

Flows in: the atelier's public painters, who are nobody's artists. Flows out: one safetensors file for the
package. Never seen here: a private artwork, a policy, a run.

Run it as ``python -m fedstyle_secure.cli.fit_public_projection --encoder NAME --out DIR``. It is a tool for
those who make the package, not a command of ``fedstyle-secure``: the result only counts once its hash is
pinned in `fedstyle_secure.style.public`.

With the same library versions and ``OMP_NUM_THREADS=1`` the file comes out the same byte for byte.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import click
import numpy as np
from jaxtyping import Float32, Int, UInt8
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from fedstyle_secure.artworks.atelier import paint_public_painters
from fedstyle_secure.errors import FedStyleSecureError
from fedstyle_secure.style.encoder import Encoder, load_encoder
from fedstyle_secure.style.fitting import fit_projection
from fedstyle_secure.style.public import pack_projection

__all__ = ["PAINTERS", "WORKS_PER_PAINTER", "encode_public_painters", "main"]

PAINTERS = 500
WORKS_PER_PAINTER = 8

_PAINTERS_AT_ONCE = 10
_JPEG_QUALITY = (35, 96)


def encode_public_painters(
    encoder: Encoder, *, first: int, count: int, works: int
) -> tuple[Float32[np.ndarray, "artworks features"], Int[np.ndarray, " artworks"]]:
    """Paint some public painters and encode their works.

    The works go through JPEG first, each painter's at a quality of its own: pictures from the world have been
    compressed, and a projection fitted on pictures that never were looks at grain which real works do not
    have.

    Args:
        encoder: the encoder.
        first: number of the first painter, from 0.
        count: how many painters.
        works: works by each.

    Returns:
        Features, and for each artwork the number of its painter.
    """
    painted = paint_public_painters(first, count, works).artists
    numbers = range(first, first + count)
    images = [_through_jpeg(artist.images, painter=n) for n, artist in zip(numbers, painted, strict=True)]
    return encoder.encode(np.concatenate(images)), np.repeat(np.arange(first, first + count), works)


@click.command()
@click.option(
    "--encoder",
    "encoder_name",
    type=click.Choice(["efficientnet-lite0", "colour-texture"]),
    required=True,
    help="Encoder to fit for.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the file."
)
@click.option("--painters", default=PAINTERS, show_default=True, help="How many public painters.")
@click.option("--works", default=WORKS_PER_PAINTER, show_default=True, help="Works by each.")
def main(encoder_name: str, out: Path, painters: int, works: int) -> None:
    """Fit a public projection on the atelier's public painters and write DIR/ENCODER.safetensors."""
    console = Console(stderr=True)
    try:
        encoder = load_encoder(
            "efficientnet-lite0" if encoder_name == "efficientnet-lite0" else "colour-texture"
        )
    except FedStyleSecureError as error:
        console.print(str(error), markup=False)
        raise SystemExit(int(error.exit_code)) from error
    features, painter_numbers = [], []
    with Progress(console=console, disable=not console.is_terminal) as bars:
        painting = bars.add_task("painting and encoding", total=painters)
        for first in range(0, painters, _PAINTERS_AT_ONCE):
            count = min(_PAINTERS_AT_ONCE, painters - first)
            rows, numbers = encode_public_painters(encoder, first=first, count=count, works=works)
            features.append(rows)
            painter_numbers.append(numbers)
            bars.advance(painting, count)
        fitting = bars.add_task("fitting", total=None)
        fitted = fit_projection(
            np.concatenate(features),
            np.concatenate(painter_numbers),
            layout=encoder.layout,
            progress=lambda done, total: bars.update(fitting, completed=done, total=total),
        )
    content = pack_projection(fitted, encoder=encoder, painters=painters, works=works)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{encoder.name}.safetensors").write_bytes(content)
    click.echo(f"{hashlib.sha256(content).hexdigest()}  {encoder.name}.safetensors")


def _through_jpeg(
    images: UInt8[np.ndarray, "works height width 3"], *, painter: int
) -> UInt8[np.ndarray, "works height width 3"]:
    """One painter's works, compressed and read back, at a quality that the painter's number decides."""
    quality = int(np.random.default_rng([7, painter]).integers(*_JPEG_QUALITY, endpoint=True))
    compressed = []
    for image in images:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        compressed.append(np.asarray(Image.open(stream).convert("RGB")))
    return np.stack(compressed)


if __name__ == "__main__":
    main()
