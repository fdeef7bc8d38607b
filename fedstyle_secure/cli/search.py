"""`fedstyle-secure search`: rank the artists of a run for an image, by style.

Flows in: a run folder and an image. Flows out: artists, best first. The image is looked at here and stays
here.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from fedstyle_secure.artworks.folder import read_image
from fedstyle_secure.artworks.names import shown_name
from fedstyle_secure.cli.console import json_option, print_json, print_result, quiet_option, talk
from fedstyle_secure.style.encoder import EncoderName, load_encoder
from fedstyle_secure.style.index import StyleIndex
from fedstyle_secure.style.public import load_projection

__all__ = ["search"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--top", default=5, show_default=True, type=click.IntRange(min=1), help="How many artists to name."
)
@json_option
@quiet_option
def search(run: Path, image: Path, top: int, as_json: bool) -> None:
    """Rank the artists of RUN by how close their style is to IMAGE.

    RUN is a folder that `run` or `demo` has written. The score is a cosine, -1 to 1; only its order within
    one search means something.
    """
    index = StyleIndex.load(run)
    encoder = load_encoder(cast(EncoderName, index.encoder))  # a name that `load` has checked
    projection = load_projection(encoder, embedding_size=len(index.centre))
    features = projection.project(encoder.encode(read_image(image)[None]))
    matches = index.search(features[0])[:top]
    if as_json:
        print_json(
            {
                "run": str(run),
                "image": str(image),
                "encoder": index.encoder,
                "matches": [{"rank": m.rank, "artist": m.artist, "score": m.score} for m in matches],
            }
        )
        return
    if encoder.notice:
        talk().warn(encoder.notice)
    for match in matches:
        print_result(f"{match.rank:>3}. {shown_name(match.artist):<30} {match.score:+.3f}")
