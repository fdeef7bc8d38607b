"""The entry of the command line.

Flows in: arguments. Flows out: the command that they name, run; and the one place where an error becomes a
message on stderr, with `--json` an object on stdout, and an exit code. Commands are imported when they are
called, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple, final

import click

from fedstyle_secure import __version__
from fedstyle_secure.errors import ErrorCode, ExitCode, FedStyleSecureError

__all__ = ["COMMANDS", "LazyCommand", "main"]

_PROGRAM: Final = "fedstyle-secure"


class LazyCommand(NamedTuple):
    """A command that is not imported yet.

    Args:
        target: its module and its name in there, as `module:name`.
        summary: the line that `--help` shows.
    """

    target: str
    summary: str


COMMANDS: Final = {
    "demo": LazyCommand("fedstyle_secure.cli.demo:demo", "See it work, on artworks that it paints itself."),
    "init": LazyCommand("fedstyle_secure.cli.init:init", "Write a policy file with every key explained."),
    "run": LazyCommand(
        "fedstyle_secure.cli.run:run", "Train on a folder of artworks, as the file POLICY promises."
    ),
    "search": LazyCommand(
        "fedstyle_secure.cli.search:search", "Rank the artists of RUN by how close their style is to IMAGE."
    ),
    "keys": LazyCommand("fedstyle_secure.cli.keys:keys", "Make identities and the roster for secure sums."),
    "doctor": LazyCommand("fedstyle_secure.cli.doctor:doctor", "Check that this machine has what is needed."),
    "schema": LazyCommand("fedstyle_secure.cli.schema:schema", "Print the JSON Schema of the policy file."),
}


class _OutputClosed(Exception):
    """Nobody reads the output any more, as in `fedstyle-secure schema | head -1`."""


@contextmanager
def _noticing_closed_output() -> Iterator[None]:
    # click would answer with exit code 1, which means a leak here.
    try:
        yield
    except BrokenPipeError:
        raise _OutputClosed from None


@final
class _CommandLine(click.Group):
    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        with _noticing_closed_output():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _noticing_closed_output():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].target.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        arguments = list(sys.argv[1:] if args is None else args)
        run = partial(
            super().main,
            arguments,
            prog_name or _PROGRAM,
            complete_var,
            standalone_mode=False,
            windows_expand_args=windows_expand_args,
            **extra,
        )
        return sys.exit(_exit_code(run, as_json=_wants_json(arguments))) if standalone_mode else run()


@click.group(_PROGRAM, cls=_CommandLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=_PROGRAM, message="%(prog)s %(version)s")
def main() -> None:
    """Let artists learn a shared notion of style without showing anyone their work.

    A policy file says what is promised. Begin with `fedstyle-secure demo`.
    """


def _exit_code(run: Callable[[], Any], *, as_json: bool) -> int:
    """Run the command line; whatever ends it becomes a message and an exit code here."""
    try:
        result = run()
        sys.stdout.flush()
        code = result if isinstance(result, int) else ExitCode.OK
    except FedStyleSecureError as error:
        code = _report(error.exit_code, error.code, error.message, error.fix, as_json=as_json)
    except click.ClickException as error:
        code = _report_usage(error, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        # The commands ask no questions, so this is Ctrl-C, as click passes it on.
        click.echo("Stopped before the end. `run --resume` continues an unfinished run.", err=True)
        code = ExitCode.INTERRUPTED
    except (_OutputClosed, BrokenPipeError):
        code = _leave_in_silence()
    except Exception:
        traceback.print_exc()
        click.echo("This is a mistake in fedstyle-secure. Please report it with the lines above.", err=True)
        code = ExitCode.INTERNAL
    return int(code)


def _report(exit_code: int, code: str, message: str, fix: str, *, as_json: bool) -> int:
    # Imported here because rich is slow to import, and `--help` needs none of it.
    from fedstyle_secure.cli.console import talk  # noqa: PLC0415

    if as_json:
        click.echo(json.dumps({"error": {"code": str(code), "message": message, "fix": fix}}, indent=2))
    talk().error(f"{message} [{code}]", fix=fix)
    return int(exit_code)


def _report_usage(error: click.ClickException, *, as_json: bool) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context is not None else _PROGRAM
    fix = f"`{command} --help` lists what can be said."
    return _report(ExitCode.USAGE, ErrorCode.USAGE, error.format_message(), fix, as_json=as_json)


def _leave_in_silence() -> int:
    # Python would complain once more when it flushes stdout at the end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OUTPUT_CLOSED


def _wants_json(arguments: Sequence[str]) -> bool:
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options
