"""`fedstyle-secure keys` as a person at a terminal meets it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fedstyle_secure.cli.main import main
from fedstyle_secure.secure_aggregation.keys import Identity, PublicIdentity, Roster, spoken


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["keys", *(str(argument) for argument in arguments)])


def call_json(*arguments: object) -> Any:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def private_part(path: Path) -> str:
    key = json.loads(path.read_text(encoding="utf-8"))["private_key"]
    assert len(key) == 44
    return str(key)


def assert_refused(result: Result, code: str, exit_code: int, *, says: str) -> None:
    assert result.exit_code == exit_code, result.output
    assert f"[{code}]" in result.stderr
    assert says in result.stderr
    assert result.stdout == ""


@pytest.fixture(name="people")
def _people(tmp_path: Path) -> dict[str, Path]:
    """Three people's identity files, with their public lines beside them."""
    files = {name: tmp_path / f"{number}.json" for number, name in enumerate(("ben", "ana", "Zoë = x"))}
    for name, path in files.items():
        path.with_suffix(".pub").write_text(call("new", name, "--out", path).stdout, encoding="utf-8")
    return files


def test_new_writes_a_private_file_and_prints_the_public_line(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    result = call("new", "ana", "--out", path)
    identity = Identity.load(path)
    assert (result.exit_code, result.stdout) == (0, identity.public.to_line() + "\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "hand it to nobody" in result.stderr
    assert private_part(path) not in result.output
    assert call("new", "ben", "--out", tmp_path / "ben.json", "--quiet").stderr == ""


def test_new_never_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    call("new", "ana", "--out", path)
    before = path.read_bytes()
    assert_refused(call("new", "ana", "--out", path), "file-exists", 2, says=str(path))
    assert path.read_bytes() == before


def test_new_says_what_it_cannot_do(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "ana.json"
    assert_refused(call("new", "ana", "--out", nowhere), "output-not-writable", 5, says="nowhere")
    assert_refused(call("new", "a\nb", "--out", tmp_path / "a.json"), "roster-invalid", 5, says="name")
    assert list(tmp_path.iterdir()) == []


def test_public_prints_the_same_line_again(people: dict[str, Path]) -> None:
    for path in people.values():
        assert call("public", path).stdout == path.with_suffix(".pub").read_text(encoding="utf-8")
    assert call_json("public", people["ana"]) == {
        "name": "ana",
        "public_line": Identity.load(people["ana"]).public.to_line(),
        "fingerprint": spoken(Identity.load(people["ana"]).public.fingerprint()),
    }


def test_an_identity_that_others_can_read_is_refused(people: dict[str, Path]) -> None:
    people["ana"].chmod(0o644)
    for arguments in (
        ("public", people["ana"]),
        ("show", people["ana"]),
        ("rotate", people["ana"], "--out", "x"),
    ):
        assert_refused(call(*arguments), "identity-invalid", 5, says="other users")


def test_a_roster_is_made_of_lines_and_files_in_any_order(people: dict[str, Path], tmp_path: Path) -> None:
    lines = {name: Identity.load(path).public.to_line() for name, path in people.items()}
    both = tmp_path / "two.pub"
    both.write_text(f"{lines['ben']}\r\n\n{lines['Zoë = x']}\n", encoding="utf-8")
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    first = call_json("roster", "--out", one, lines["ana"], both)
    second = call_json("roster", *(path.with_suffix(".pub") for path in people.values()), "--out", other)
    assert first == second
    assert one.read_bytes() == other.read_bytes()
    roster = Roster.load(one)
    assert list(roster) == sorted(people) == [member["name"] for member in first["members"]]
    for name, path in people.items():
        assert roster.member(name) == Identity.load(path).public
    assert first["fingerprint"] == spoken(roster.fingerprint())


def test_a_roster_is_replaced_only_by_force(people: dict[str, Path], tmp_path: Path) -> None:
    publics = [path.with_suffix(".pub") for path in people.values()]
    out = tmp_path / "roster.json"
    assert call("roster", "--out", out, *publics).exit_code == 0
    before = out.read_bytes()
    refused = call("roster", "--out", out, *publics[:2])
    assert_refused(refused, "file-exists", 2, says="--force")
    assert out.read_bytes() == before
    assert call("roster", "--out", out, *publics[:2], "--force").exit_code == 0
    assert len(Roster.load(out)) == 2


def test_what_cannot_be_a_member_is_refused(people: dict[str, Path], tmp_path: Path) -> None:
    ana, out = people["ana"].with_suffix(".pub"), tmp_path / "roster.json"
    nonsense, picture = tmp_path / "nonsense", tmp_path / "picture"
    nonsense.write_text("hello\n", encoding="utf-8")
    picture.write_bytes(b"\xff\xd8\xff")
    bad_key = "ben=" + "A" * 42 + "!="
    for member, code, exit_code, says in (
        (people["ben"], "usage", 2, "private key"),
        (tmp_path / "missing", "usage", 2, "missing"),
        (picture, "usage", 2, "picture"),
        (bad_key, "usage", 2, "ben="),
        (nonsense, "roster-invalid", 5, "nonsense"),
        (ana, "roster-invalid", 5, "twice"),
        ("=" + "A" * 43 + "=", "roster-invalid", 5, "name"),
    ):
        result = call("roster", "--out", out, ana, member)
        assert_refused(result, code, exit_code, says=says)
        assert private_part(people["ben"]) not in result.output
        assert not out.exists()
    assert_refused(call("roster", "--out", out, ana), "roster-invalid", 5, says="1 clients")
    assert_refused(call("roster", "--out", out), "usage", 2, says="MEMBER")


def test_show_never_shows_a_private_key(people: dict[str, Path]) -> None:
    path = people["Zoë = x"]
    public = Identity.load(path).public
    shown = call("show", path)
    assert shown.exit_code == 0
    assert f"Zoë = x  {spoken(public.fingerprint())}\n" in shown.stdout
    for result in (shown, call("show", path, "--json")):
        assert private_part(path) not in result.output


def test_show_tells_what_a_file_is(people: dict[str, Path], tmp_path: Path) -> None:
    publics = [path.with_suffix(".pub") for path in people.values()]
    roster = tmp_path / "roster.json"
    made = call("roster", "--out", roster, *publics)
    shown = call("show", roster)
    assert made.stdout == shown.stdout
    assert f"fingerprint of the roster: {spoken(Roster.load(roster).fingerprint())}\n" in shown.stdout
    kinds = {str(path): call_json("show", path)["kind"] for path in (people["ana"], roster, publics[0])}
    assert list(kinds.values()) == ["identity", "roster", "public lines"]


def test_show_refuses_other_files(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"kind": "recipe"}', encoding="utf-8")
    assert_refused(call("show", other), "roster-invalid", 5, says="other.json")
    assert_refused(call("show", tmp_path / "missing"), "usage", 2, says="missing")
    broken = tmp_path / "broken.json"
    broken.write_text('{"kind": "fedstyle-secure roster"}', encoding="utf-8")
    assert_refused(call("show", broken), "roster-invalid", 5, says="broken.json")


def test_rotate_makes_a_new_key_and_keeps_the_old_file(people: dict[str, Path], tmp_path: Path) -> None:
    old, new = people["ana"], tmp_path / "new.json"
    before = old.read_bytes()
    result = call("rotate", old, "--out", new)
    assert (result.exit_code, old.read_bytes()) == (0, before)
    rotated = Identity.load(new)
    assert result.stdout == rotated.public.to_line() + "\n"
    assert rotated.client_id == "ana"
    assert rotated.public.public_key != Identity.load(old).public.public_key
    assert "everybody has replaced the roster" in result.stderr
    for secret in (private_part(old), private_part(new)):
        assert secret not in result.output
    assert_refused(call("rotate", old, "--out", old), "file-exists", 2, says=str(old))
    assert old.read_bytes() == before


def test_fingerprints_can_be_read_aloud_and_depend_on_name_and_key() -> None:
    ana = Identity.generate("ana").public
    groups = spoken(ana.fingerprint()).split(" ")
    assert [len(group) for group in groups] == [4] * 10
    assert "".join(groups) == ana.fingerprint().hex()[:40]
    others = [PublicIdentity("ben", ana.public_key), Identity.generate("ana").public]
    assert len({ana.fingerprint(), *(other.fingerprint() for other in others)}) == 3


@pytest.mark.parametrize("name", ["ana", "a=b", "=", "Zoë ", "x" * 128])
def test_public_lines_come_back_whatever_the_name(name: str) -> None:
    identity = Identity.generate(name).public
    assert PublicIdentity.from_line(identity.to_line()) == identity


@pytest.mark.parametrize("line", ["", "ana", "ana=", "A" * 44, "ana:" + "A" * 43 + "=", "ana=" + "A" * 44])
def test_what_is_no_public_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"equals sign|base64|bytes"):
        PublicIdentity.from_line(line)


def test_keys_alone_shows_what_there_is() -> None:
    result = call()
    assert (result.exit_code, result.stdout) == (2, "")
    for command in ("new", "public", "roster", "show", "rotate"):
        assert f"\n  {command} " in result.stderr
