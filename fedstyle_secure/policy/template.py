"""The policy that `init` writes: every key, what it means, and a value to start with.

Flows in: the models, and values to write instead of the usual ones. Flows out: the text of a policy that
validates.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fedstyle_secure.errors import ErrorCode, SetupError, UsageError
from fedstyle_secure.policy.keys import KeyInfo, policy_keys, yaml_value
from fedstyle_secure.policy.reading import parse_policy

__all__ = ["policy_template", "write_template"]

_WIDTH: Final = 100
_HEAD: Final = """\
# What is promised to the artists, and how it is kept. Every command reads this one file, and a key
# that is unknown or missing is an error. Change a value, then run:
#   fedstyle-secure run THIS-FILE --artworks FOLDER --out RUN

"""


def policy_template(values: Mapping[str, Any] | None = None) -> str:
    """Write a policy with every key explained.

    Args:
        values: what to write instead of the usual values, by dotted key, for example `{"federation.rounds":
            5}`.

    Returns:
        The text of a policy that `parse_policy` accepts.

    Raises:
        KeyError: a key of `values` is not a key of a policy.
        InvalidPolicyError: `values` break a rule of the policy.
    """
    values = dict(values or {})
    blocks = [_block(info, values.pop(name, info.start_value)) for name, info in policy_keys().items()]
    if values:
        raise KeyError(f"not keys of a policy: {', '.join(sorted(values))}")
    text = _HEAD + "".join(blocks)
    parse_policy(text, source="template")
    return text


def write_template(path: Path, *, overwrite: bool = False, values: Mapping[str, Any] | None = None) -> None:
    """Write a new policy file.

    Args:
        path: where to; its folder must be there.
        overwrite: whether a file that is there may be replaced.
        values: as in `policy_template`.

    Raises:
        UsageError: there is something at `path` already.
        SetupError: the file cannot be written.
    """
    text = policy_template(values)
    if path.is_dir():
        raise UsageError(
            ErrorCode.FILE_EXISTS, f"{path} is a folder", fix=f"Name a file in it: {path / 'fedstyle.yaml'}"
        )
    # The text goes to a file of its own first, so that nothing half-written is ever found under the name.
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        if overwrite:
            draft.replace(path)
        else:
            os.link(draft, path)  # unlike replace, this fails when the name is taken
    except FileExistsError:
        raise UsageError(
            ErrorCode.FILE_EXISTS,
            f"{path} is there already",
            fix="Give another name, or replace it with --force.",
        ) from None
    except OSError as error:
        raise SetupError(
            ErrorCode.OUTPUT_NOT_WRITABLE,
            f"{path} cannot be written: {error.strerror or error}",
            fix="Choose a folder that exists and that you may write to.",
        ) from None
    finally:
        draft.unlink(missing_ok=True)


def _block(info: KeyInfo, value: Any) -> str:
    depth = len(info.path) - 1
    indent = "  " * depth
    optional = "" if info.required or depth else "Optional: these are the usual values. "
    comment = textwrap.fill(
        optional + info.description.replace("`", ""),
        width=_WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# ",
        break_on_hyphens=False,
    )
    if info.is_block:
        return f"{chr(10) if not depth else ''}{comment}\n{indent}{info.name}:\n"
    return f"{comment}\n{indent}{info.name}: {yaml_value(value)}\n"
