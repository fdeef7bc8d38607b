"""`fedstyle-secure run`: train on a folder of artworks, as a policy promises.

Flows in: a policy file and a folder of artworks. Flows out: a run folder, and the result on stdout.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from fedstyle_secure.artworks.folder import read_artworks
from fedstyle_secure.artworks.names import shown_name
from fedstyle_secure.cli.console import json_option, print_json, print_result, quiet_option, talk
from fedstyle_secure.cli.narrator import Narrator
from fedstyle_secure.cli.page import render_page
from fedstyle_secure.cli.summary import summary
from fedstyle_secure.federation.style_run import NOT_RELEASED, run_style_federation
from fedstyle_secure.policy import parse_policy, read_policy_text

__all__ = ["run"]


@click.command()
@click.argument("policy", type=click.Path(path_type=Path))
@click.option(
    "--artworks",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder that holds one folder for each artist.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the run: absent or empty."
)
@click.option(
    "--evaluate",
    "with_evaluation",
    is_flag=True,
    help="Hold 30 % of the works out and measure retrieval on them. No guarantee covers what it prints.",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out where it stopped.")
@json_option
@quiet_option
def run(
    *, policy: Path, artworks: Path, out: Path, with_evaluation: bool, resume: bool, as_json: bool
) -> None:
    """Train on a folder of artworks, as the file POLICY promises.

    Writes the run to --out: the released state, a style index for `search`, and a page, report.html. What is
    in its folder `private` is not for passing on.
    """
    voice = talk()
    text = read_policy_text(policy)
    promised = parse_policy(text, source=str(policy))
    collection = read_artworks(
        artworks,
        minimum_per_artist=promised.artworks.minimum_per_artist,
        minimum_artists=promised.federation.cohort.minimum,
    )
    for notice in collection.notices:
        voice.warn(str(notice))
    finished = run_style_federation(
        promised,
        collection,
        out,
        policy_text=text,
        with_evaluation=with_evaluation,
        resume=resume,
        observer=Narrator(voice),
    )
    title = f"Style run: {shown_name(artworks.resolve().name)}"
    released = {key: value for key, value in finished.result.items() if key not in NOT_RELEASED}
    page = out / "report.html"
    finished.folder.write_text("report.html", _page(released, title))
    if len(released) < len(finished.result):
        page = out / "private" / "report.html"
        finished.folder.write_text("private/report.html", _page(finished.result, title))
    if as_json:
        print_json(finished.result)
    else:
        print_result(summary(finished.result))
        voice.say(f"\nThe page of this run:  {page}")
        voice.say(f"Search it:             fedstyle-secure search {out} IMAGE")


def _page(result: Mapping[str, Any], title: str) -> str:
    return render_page(result, title=title, searches=(), pictures_of_artworks=False)
