"""`fedstyle-secure doctor`: does this machine have what a run needs.

Flows in: nothing. Flows out: one line a check, and exit code 5 when something is missing that a run cannot do
without.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from fedstyle_secure.cli.console import json_option, print_json, print_result, quiet_option, talk
from fedstyle_secure.cli.health import Check, Status, checks
from fedstyle_secure.errors import ExitCode

__all__ = ["doctor"]


@click.command()
@json_option
@quiet_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check that this machine has what is needed.

    Tries the libraries on small real tasks, looks whether the files of this program are whole, and whether
    there is room to work. Takes some seconds. Exit code 5 means that a run cannot work before something is
    mended.
    """
    talk().say("Looking around; this takes some seconds.")
    done: list[Check] = []
    for check in checks():
        done.append(check)
        if not as_json:
            print_result(_line(check))
    worst = _worst(done)
    if as_json:
        print_json({"status": worst, "checks": [vars(check) for check in done]})
    else:
        print_result(_verdict(worst))
    if worst is Status.PROBLEM:
        context.exit(ExitCode.SETUP)


def _line(check: Check) -> str:
    line = f"{check.status:8}{check.name}: {check.detail}"
    return f"{line}\n        -> {check.fix}" if check.fix else line


def _worst(done: Sequence[Check]) -> Status:
    statuses = {check.status for check in done}
    return next(status for status in (Status.PROBLEM, Status.WARNING, Status.OK) if status in statuses)


def _verdict(worst: Status) -> str:
    return {
        Status.OK: "All is well.",
        Status.WARNING: "A run works here; look at the warnings.",
        Status.PROBLEM: "A run cannot work here before the problems are mended.",
    }[worst]
