"""`fedstyle-secure keys`: identities, and the roster of everybody's public keys.

Flows in: names, identity files, public keys. Flows out: identity files that only their owner can read, the
roster, fingerprints. Never shown: a private key.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fedstyle_secure.cli.console import json_option, print_json, print_result, quiet_option, talk
from fedstyle_secure.errors import ErrorCode, SetupError, UsageError
from fedstyle_secure.secure_aggregation.key_files import kind_of, read_text
from fedstyle_secure.secure_aggregation.keys import Identity, PublicIdentity, Roster, spoken

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """Make identities and the roster for secure sums.

    Everybody makes an identity (`new`) and hands the printed line, which is public, to one person, who makes
    the roster of all (`roster`). Everybody gets a copy of the roster, and all compare its fingerprint
    (`show`) in a way that nobody in between can change, such as over the phone: whoever can change a roster
    can pose as its members.
    """


@keys.command()
@click.argument("name")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Identity file to write.")
@json_option
@quiet_option
def new(name: str, out: Path, as_json: bool) -> None:
    """Make an identity for NAME and print its public line.

    The file holds the private key, is readable by its owner alone, and stays on this machine. An existing
    file is never replaced.
    """
    identity = Identity.generate(name)
    identity.save(out)
    _print_public(identity.public, out=out, as_json=as_json)
    talk().say(f"{out} holds the private key of {name}: hand it to nobody. The printed line is public.")


@keys.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@quiet_option
def public(file: Path, as_json: bool) -> None:
    """Print the public line of the identity FILE.

    It is what whoever makes the roster needs.
    """
    _print_public(Identity.load(file).public, out=None, as_json=as_json)


@keys.command()
@click.argument("members", nargs=-1, required=True, metavar="MEMBER...")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Roster file to write.")
@click.option("--force", is_flag=True, help="Replace the file if it is there already.")
@json_option
@quiet_option
def roster(members: Sequence[str], out: Path, force: bool, as_json: bool) -> None:
    """Make a roster of all members.

    MEMBER is a public line, NAME=KEY, or a file of such lines. The order does not matter: a roster is in the
    order of names, so the same members always give the same fingerprint.
    """
    found = [identity for member in members for identity in _members(member)]
    made = Roster(sorted(found, key=lambda identity: identity.client_id))
    if out.exists() and not force:
        raise UsageError(
            ErrorCode.FILE_EXISTS,
            f"{out} is there already",
            fix="Give another name, or replace it with --force.",
        )
    made.save(out)
    _print_roster(made, as_json=as_json)
    talk().say(
        f"Hand {out} to everybody, the aggregator included. Before the first session all compare the "
        "fingerprint of the roster, for example over the phone."
    )


@keys.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@quiet_option
def show(file: Path, as_json: bool) -> None:
    """Show who is in FILE: an identity, a roster, or public lines.

    Fingerprints are there to be read aloud and compared. A private key is never shown.
    """
    try:
        text = read_text(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "too large, or not text"
        raise UsageError(
            ErrorCode.USAGE,
            f"{file} cannot be read ({reason})",
            fix="Name an identity, a roster, or a file of public lines.",
        ) from None
    match kind_of(text):
        case "identity":
            _print_members("identity", [Identity.load(file).public], as_json=as_json)
        case "roster":
            _print_roster(Roster.load(file), as_json=as_json)
        case _:
            _print_members("public lines", _read_lines(text, file), as_json=as_json)


@keys.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Identity file to write.")
@json_option
@quiet_option
def rotate(file: Path, out: Path, as_json: bool) -> None:
    """Make a new key for the name in the identity FILE.

    The new identity goes to a file of its own; FILE stays as it is, since sessions under the present roster
    need it.
    """
    identity = Identity.generate(Identity.load(file).client_id)
    identity.save(out)
    _print_public(identity.public, out=out, as_json=as_json)
    talk().say(
        f"{out} holds the new private key of {identity.client_id}; {file} is unchanged. The new key counts "
        "once everybody has replaced the roster by one that holds the printed line. Delete the old file then."
    )


def _members(member: str) -> list[PublicIdentity]:
    """What one argument of `roster` stands for."""
    try:
        return [PublicIdentity.from_line(member)]
    except ValueError:
        path = Path(member)
    try:
        return _read_lines(read_text(path), path)
    except (OSError, ValueError):
        raise UsageError(
            ErrorCode.USAGE,
            f"{member} is neither NAME=KEY nor a file that can be read",
            fix="Give the lines that `fedstyle-secure keys public` prints, or files of them.",
        ) from None


def _read_lines(text: str, path: Path) -> list[PublicIdentity]:
    """The public lines of a file."""
    if kind_of(text) == "identity":
        raise UsageError(
            ErrorCode.USAGE,
            f"{path} is an identity, with a private key in it",
            fix=f"Give its public line, which `fedstyle-secure keys public {path}` prints.",
        )
    try:
        found = [PublicIdentity.from_line(line) for line in text.splitlines() if line]
    except ValueError:
        found = []
    if not found:
        raise SetupError(
            ErrorCode.ROSTER_INVALID,
            f"{path} holds something else than public lines",
            fix="Each line must be NAME=KEY, as `fedstyle-secure keys public` prints it.",
        )
    return found


def _described(identity: PublicIdentity) -> dict[str, str]:
    return {
        "name": identity.client_id,
        "public_line": identity.to_line(),
        "fingerprint": spoken(identity.fingerprint()),
    }


def _print_public(identity: PublicIdentity, *, out: Path | None, as_json: bool) -> None:
    if as_json:
        written = {"file": str(out)} if out else {}
        print_json(_described(identity) | written)
    else:
        print_result(identity.to_line())


def _print_roster(roster: Roster, *, as_json: bool) -> None:
    members = [roster.member(client) for client in roster]
    _print_members("roster", members, fingerprint=spoken(roster.fingerprint()), as_json=as_json)


def _print_members(
    kind: str, members: Sequence[PublicIdentity], *, fingerprint: str | None = None, as_json: bool
) -> None:
    if as_json:
        content: dict[str, Any] = {"kind": kind, "members": [_described(member) for member in members]}
        print_json(content | ({"fingerprint": fingerprint} if fingerprint else {}))
        return
    print_result(f"{kind}, {len(members)} {'member' if len(members) == 1 else 'members'}")
    if fingerprint:
        print_result(f"fingerprint of the roster: {fingerprint}")
    width = max(len(member.client_id) for member in members)
    for member in members:
        print_result(f"  {member.client_id:<{width}}  {spoken(member.fingerprint())}")
