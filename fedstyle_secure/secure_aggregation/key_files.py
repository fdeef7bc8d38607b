"""Small JSON files that hold keys.

Flows in: fields, or a path. Flows out: files that are complete or absent, and fields from files that are
exactly of the expected kind. Never seen here: what the keys are for.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fedstyle_secure.errors import ErrorCode, SetupError, UsageError

__all__ = [
    "decode_key",
    "encode_key",
    "kind_of",
    "read_fields",
    "read_text",
    "unwritable",
    "write_document",
    "write_new_private_file",
]

_KEY_BYTES: Final = 32
_KIND_PREFIX: Final = "fedstyle-secure "
_LARGEST_FILE_BYTES: Final = 1 << 20


def write_document(kind: str, **fields: object) -> str:
    """The text of a file of one kind."""
    return json.dumps({"kind": _KIND_PREFIX + kind, "version": 1, **fields}, indent=2) + "\n"


def read_fields(text: str, kind: str, names: set[str]) -> dict[str, Any]:
    """The fields of a file of one kind.

    Raises:
        ValueError: the text is of another kind or version, or has other fields than `names`.
    """
    document = json.loads(text)
    if not isinstance(document, dict) or set(document) != {"kind", "version", *names}:
        raise ValueError("wrong keys")
    if document["kind"] != _KIND_PREFIX + kind or document["version"] != 1:
        raise ValueError("wrong kind or version")
    return document


def kind_of(text: str) -> str | None:
    """The kind of a file of `write_document`, from its text; None if it is something else."""
    try:
        document = json.loads(text)
    except ValueError:
        return None
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or not kind.startswith(_KIND_PREFIX):
        return None
    return kind.removeprefix(_KIND_PREFIX)


def encode_key(key: bytes) -> str:
    """A key as it stands in files: base64."""
    return base64.b64encode(key).decode()


def decode_key(text: object) -> bytes:
    """The inverse of `encode_key`, for keys of 32 bytes.

    Raises:
        ValueError: it is not one.
    """
    if not isinstance(text, str):
        raise ValueError("a key is a string")
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("a key is base64") from None
    if len(key) != _KEY_BYTES:
        raise ValueError("a key has 32 bytes")
    return key


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large or not UTF-8.
    """
    with path.open("rb") as file:
        data = file.read(_LARGEST_FILE_BYTES + 1)
    if len(data) > _LARGEST_FILE_BYTES:
        raise ValueError("file too large")
    return data.decode("utf-8")


def write_new_private_file(path: Path, content: str) -> None:
    """Write a file that only its owner can read. It is complete or absent, and never replaces another one.

    Raises:
        UsageError: the file exists.
        SetupError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A hard link, unlike a rename, refuses to replace a file that is there.
        os.link(draft, path)
    except FileExistsError:
        raise UsageError(
            ErrorCode.FILE_EXISTS,
            f"{path} exists",
            fix="Choose another path. An identity that is overwritten is lost for good.",
        ) from None
    except OSError as error:
        raise unwritable(path, error) from None
    finally:
        with suppress(OSError):
            draft.unlink()


def unwritable(path: Path, error: OSError) -> SetupError:
    """The error of a file that cannot be written."""
    return SetupError(
        ErrorCode.OUTPUT_NOT_WRITABLE,
        f"{path} cannot be written ({error.strerror})",
        fix="Choose a folder that exists and that you may write to.",
    )
