"""Where the command line speaks: results on stdout, everything else on stderr.

Flows in: sentences, progress, results. Flows out: text. Colours obey NO_COLOR, progress bars are off without
a terminal, and `--quiet` leaves only results, warnings and errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Talk", "json_option", "print_json", "print_result", "quiet_option", "talk"]

_QUIET: Final = "fedstyle_secure.quiet"
_Command = TypeVar("_Command", bound=Callable[..., Any])


@final
class Talk:
    """Speaks to the person at the terminal, on stderr.

    Args:
        quiet: whether to leave out everything but warnings and errors.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        # Names of files and artists may hold brackets, so nothing is ever read as markup.
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def say(self, text: str, *, style: str | None = None) -> None:
        """Tell what is going on; silent under `--quiet`."""
        if not self._quiet:
            self._console.print(text, style=style)

    def warn(self, text: str) -> None:
        """Tell what should be known even under `--quiet`."""
        self._console.print(f"warning: {text}", style="yellow")

    def error(self, text: str, *, fix: str) -> None:
        """Tell what ended the command, and the way out."""
        self._console.print(f"error: {text}", style="bold red")
        self._console.print(f"  {fix}")

    @contextmanager
    def progress(self, label: str, *, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar while something long goes on.

        Args:
            label: what is being done.
            total: how many steps it has.

        Yields:
            A function that tells how many more steps are done.
        """
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        off = self._quiet or not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=off) as bar:
            task = bar.add_task(label, total=total)
            yield lambda steps: bar.advance(task, steps)


def talk() -> Talk:
    """Return the voice of the command that is running."""
    context = click.get_current_context(silent=True)
    return Talk(quiet=context is not None and bool(context.meta.get(_QUIET)))


def print_result(text: str) -> None:
    """Print a result, on stdout."""
    click.echo(text)


def print_json(content: Any) -> None:
    """Print a result as JSON, on stdout. Plain ASCII, so that it survives any terminal and pipe."""
    click.echo(json.dumps(content, indent=2, allow_nan=False))


def quiet_option(command: _Command) -> _Command:
    """Give a command the option `--quiet`; `talk()` obeys it."""
    return click.option(
        "--quiet",
        "-q",
        is_flag=True,
        expose_value=False,
        callback=_keep_quiet,
        help="Print results, warnings and errors only.",
    )(command)


def json_option(command: _Command) -> _Command:
    """Give a command the option `--json`, which reaches it as `as_json`."""
    option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
    return option(command)


def _keep_quiet(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    del parameter
    if value:
        context.meta[_QUIET] = True
