"""`fedstyle-secure demo`: the whole thing at work, on artworks that it paints itself.

Flows in: nothing. Flows out: a folder with the artworks, the policy, the run and its page.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from jaxtyping import Int, UInt8

from fedstyle_secure.artworks.atelier import paint_atelier, write_atelier
from fedstyle_secure.artworks.collection import ArtistWorks, ArtworkCollection
from fedstyle_secure.cli.console import json_option, print_json, print_result, quiet_option, talk
from fedstyle_secure.cli.narrator import Narrator
from fedstyle_secure.cli.page import ExampleMatch, ExampleSearch, render_page
from fedstyle_secure.cli.summary import summary
from fedstyle_secure.federation.run_folder import require_new_folder
from fedstyle_secure.federation.style_run import StyleRun, run_style_federation
from fedstyle_secure.policy import parse_policy, policy_template

__all__ = ["demo"]

_SHOWN_ARTISTS = 3


@click.command()
@click.option(
    "--out",
    default=Path("fedstyle-demo"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder to write: absent or empty.",
)
@click.option(
    "--artists", default=24, show_default=True, type=click.IntRange(3, 100), help="How many painters."
)
@click.option(
    "--works", default=12, show_default=True, type=click.IntRange(6, 500), help="Works of each painter."
)
@click.option("--seed", default=7, show_default=True, type=click.IntRange(min=0), help="Which painters.")
@json_option
@quiet_option
def demo(out: Path, artists: int, works: int, seed: int, as_json: bool) -> None:
    """See it work, on artworks that it paints itself.

    Painters that exist only in this program learn a shared sense of style under the policy that `init`
    writes. Then works that were held out are searched for. Needs no network and no files.
    """
    voice = talk()
    require_new_folder(out)
    text = policy_template()
    voice.say(f"Painting {works} works by each of {artists} painters.")
    collection = paint_atelier(artists=artists, works=works, seed=seed)
    finished = run_style_federation(
        parse_policy(text, source="the policy of the demo"),
        collection,
        out / "run",
        policy_text=text,
        with_evaluation=True,
        observer=Narrator(voice),
    )
    write_atelier(collection, out / "artworks")
    (out / "policy.yaml").write_text(text, encoding="utf-8")
    searches = _example_searches(finished, collection)
    page = render_page(
        finished.result,
        title="Artists who exist only in this program, found by their style",
        searches=searches,
        pictures_of_artworks=False,
    )
    (out / "report.html").write_text(page, encoding="utf-8")
    result = {**finished.result, "searches": [_search_json(search) for search in searches]}
    if as_json:
        print_json(result)
        return
    print_result(summary(result))
    print_result(_search_lines(searches))
    example = searches[0]
    voice.say(f"\nLook at the page:  {out / 'report.html'}")
    voice.say(
        f"Search yourself:   fedstyle-secure search {out / 'run'} "
        f"{out / 'artworks' / example.artist / example.file}"
    )
    voice.say(
        "Your own art:      fedstyle-secure init, then "
        "fedstyle-secure run fedstyle.yaml --artworks FOLDER --out RUN"
    )


def _example_searches(finished: StyleRun, collection: ArtworkCollection) -> tuple[ExampleSearch, ...]:
    """The first held-out works of the first, middle and last artist: chosen by place, not by success."""
    assert finished.split is not None
    by_name = {works.artist: works for works in collection.artists}
    names = [name for name in by_name if len(finished.split.held_out[name])]
    return tuple(
        _example_search(finished, by_name, artist) for artist in (names[0], names[len(names) // 2], names[-1])
    )


def _example_search(finished: StyleRun, by_name: dict[str, ArtistWorks], artist: str) -> ExampleSearch:
    assert finished.split is not None
    train, held_out = finished.split.train, finished.split.held_out
    place = int(held_out[artist][0])
    matches = finished.index.search(finished.features[artist][place])[:_SHOWN_ARTISTS]
    return ExampleSearch(
        artist=artist,
        file=by_name[artist].files[place],
        picture=by_name[artist].images[place],
        matches=tuple(
            ExampleMatch(match.artist, match.score, _another_work(by_name[match.artist], train[match.artist]))
            for match in matches
        ),
    )


def _another_work(
    works: ArtistWorks, train: Int[np.ndarray, " train"]
) -> UInt8[np.ndarray, "height width 3"]:
    """A work that was trained on, or any where an artist has none of those."""
    return np.asarray(works.images[train[0] if len(train) else 0])


def _search_json(search: ExampleSearch) -> dict[str, object]:
    return {
        "artist": search.artist,
        "file": search.file,
        "matches": [{"artist": match.artist, "score": match.score} for match in search.matches],
    }


def _search_lines(searches: tuple[ExampleSearch, ...]) -> str:
    lines = ["", "Three searches with held-out works"]
    for search in searches:
        found = ",  ".join(f"{match.artist} {match.score:+.2f}" for match in search.matches)
        lines.append(f"  {search.artist}/{search.file}  ->  {found}")
    return "\n".join(lines)
