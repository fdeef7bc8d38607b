from __future__ import annotations

import copy
import json
import os
import pickle
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fedstyle_secure.errors import ErrorCode, ProtocolError, SetupError, UsageError
from fedstyle_secure.secure_aggregation import keys
from fedstyle_secure.secure_aggregation.keys import Identity, PublicIdentity, Roster


def roster_of(*names: str) -> Roster:
    return Roster([Identity.generate(name).public for name in names])


def test_a_signature_is_checked_against_the_name_on_the_roster() -> None:
    ana, ben = Identity.generate("ana"), Identity.generate("ben")
    ana.public.verify(ana.sign(b"text"), b"text")
    for signature, signed in ((ana.sign(b"text"), b"texT"), (ben.sign(b"text"), b"text"), (b"", b"text")):
        with pytest.raises(ProtocolError) as caught:
            ana.public.verify(signature, signed)
        assert caught.value.code is ErrorCode.SIGNATURE_INVALID
        assert "ana" in str(caught.value)


def test_an_identity_file_is_private_complete_and_comes_back(tmp_path: Path) -> None:
    identity, path = Identity.generate("Zoë Ωmega"), tmp_path / "zoe.json"
    identity.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["zoe.json"]
    loaded = Identity.load(path)
    assert loaded.public == identity.public
    identity.public.verify(loaded.sign(b"text"), b"text")


def test_an_identity_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    Identity.generate("ana").save(path)
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        Identity.generate("ana").save(path)
    assert caught.value.code is ErrorCode.FILE_EXISTS
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["ana.json"]


def test_a_save_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SetupError) as caught:
        Identity.generate("ana").save(tmp_path / "ana.json")
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    assert os.listdir(tmp_path) == []


def test_an_identity_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    Identity.generate("ana").save(path)
    path.chmod(0o640)
    with pytest.raises(SetupError) as caught:
        Identity.load(path)
    assert caught.value.code is ErrorCode.IDENTITY_INVALID


def identity_file(**changes: object) -> bytes:
    fields = {
        "kind": "fedstyle-secure identity",
        "version": 1,
        "client_id": "a",
        "private_key": "A" * 43 + "=",
    }
    return json.dumps(fields | changes, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"{}",
        b"\xff\xfe",
        b" " * 2_000_000,
        identity_file(version=2),
        identity_file(kind="fedstyle-secure roster"),
        identity_file(extra=1),
        identity_file(private_key="c2VjcmV0"),
        identity_file(private_key="ésecret"),
        identity_file(private_key=7),
        identity_file(client_id=7),
        identity_file(client_id=""),
    ],
)
def test_what_is_not_an_identity_is_refused_without_being_quoted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ana.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SetupError) as caught:
        Identity.load(path)
    assert caught.value.code is ErrorCode.IDENTITY_INVALID
    assert "secret" not in str(caught.value).replace("fedstyle-secure", "")


def test_the_file_of_these_tests_is_an_identity_when_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(identity_file())
    path.chmod(0o600)
    assert Identity.load(path).client_id == "a"


def test_a_missing_identity_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        Identity.load(tmp_path / "nobody.json")
    assert caught.value.code is ErrorCode.IDENTITY_INVALID


def test_an_identity_shows_no_secret_and_cannot_be_copied() -> None:
    identity = Identity.generate("ana")
    raw = identity._private_key.private_bytes_raw()
    assert raw.hex() not in repr(identity) + str(vars(identity)["public"])
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copier(identity)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("name", ["", "a\nb", "\x00", "a" * 129, "é" * 65, "\ud800", 5, None])
def test_names_that_cannot_be_printed_are_refused(name: object) -> None:
    with pytest.raises(SetupError) as caught:
        Identity.generate(name)
    assert caught.value.code is ErrorCode.ROSTER_INVALID


def test_a_roster_keeps_its_order_and_has_a_fingerprint_of_names_keys_and_order() -> None:
    ana, ben = Identity.generate("ana").public, Identity.generate("ben").public
    roster = Roster([ana, ben])
    assert roster.client_ids == ("ana", "ben")
    assert roster.fingerprint() == Roster([ana, ben]).fingerprint()
    others = [Roster([ben, ana]), Roster([ana, Identity.generate("ben").public])]
    others.append(Roster([ana, PublicIdentity("bea", ben.public_key)]))
    assert len({roster.fingerprint(), *(other.fingerprint() for other in others)}) == 4


def test_a_roster_refuses_doubles_and_impossible_sizes() -> None:
    ana = Identity.generate("ana").public
    for members in (
        [],
        [ana],
        [ana, ana],
        [ana, Identity.generate("ana").public],
        [ana, PublicIdentity("ben", ana.public_key)],
    ):
        with pytest.raises(SetupError) as caught:
            Roster(members)
        assert caught.value.code is ErrorCode.ROSTER_INVALID


def test_a_roster_file_comes_back(tmp_path: Path) -> None:
    roster, path = roster_of("ana", "Zoë"), tmp_path / "roster.json"
    roster.save(path)
    assert Roster.load(path).fingerprint() == roster.fingerprint()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("members"),
        lambda d: d.update(version=2),
        lambda d: d.update(extra=1),
        lambda d: d.update(members=7),
        lambda d: d.update(members=[1, 2]),
        lambda d: d["members"][0].pop("public_key"),
        lambda d: d["members"][0].update(public_key="AAAA"),
        lambda d: d["members"][0].update(client_id=""),
    ],
)
def test_what_is_not_a_roster_is_refused(tmp_path: Path, spoil) -> None:
    path = tmp_path / "roster.json"
    roster_of("ana", "ben").save(path)
    document = json.loads(path.read_text())
    spoil(document)
    path.write_text(json.dumps(document))
    with pytest.raises(SetupError) as caught:
        Roster.load(path)
    assert caught.value.code is ErrorCode.ROSTER_INVALID


def test_a_roster_in_a_missing_folder_is_an_error_by_name(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        Roster.load(tmp_path / "roster.json")
    assert caught.value.code is ErrorCode.ROSTER_INVALID
    with pytest.raises(SetupError) as caught:
        roster_of("ana", "ben").save(tmp_path / "missing" / "roster.json")
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE


@pytest.mark.parametrize("sign", [0, 1 << 255])
@pytest.mark.parametrize("place", range(7))
def test_a_key_that_anybody_can_sign_under_is_no_identity(place: int, sign: int) -> None:
    key = (sorted(keys._SMALL_ORDER)[place] | sign).to_bytes(32, "little")
    with pytest.raises(SetupError) as caught:
        PublicIdentity("ana", key)
    assert caught.value.code is ErrorCode.ROSTER_INVALID
    forged = 0
    for number in range(64):  # what the refusal is for: signatures without a private key
        for point in (1, 2**255 - 20):
            signature = point.to_bytes(32, "little") + bytes(32)
            with suppress(InvalidSignature):
                Ed25519PublicKey.from_public_bytes(key).verify(signature, bytes([number]))
                forged += 1
    assert forged
