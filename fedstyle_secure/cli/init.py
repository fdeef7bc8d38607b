"""`fedstyle-secure init`: a policy file to begin with.

Flows in: where to write it. Flows out: a policy with every key explained.
"""

from __future__ import annotations

from pathlib import Path

import click

from fedstyle_secure.cli.console import print_result, quiet_option, talk
from fedstyle_secure.policy import write_template

__all__ = ["init"]


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("fedstyle.yaml"))
@click.option("--force", is_flag=True, help="Replace the file if it is there already.")
@quiet_option
def init(path: Path, force: bool) -> None:
    """Write a policy file with every key explained.

    PATH is the file to write, fedstyle.yaml unless you say otherwise. The policy validates as it stands; the
    comments in it say what each value means for the artists.
    """
    write_template(path, overwrite=force)
    print_result(str(path))
    talk().say(f"Read it, change it, then: fedstyle-secure run {path} --artworks FOLDER --out RUN")
