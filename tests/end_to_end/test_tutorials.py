"""Runs the tutorials: every command that they show, in the order in which they show it, as a reader would
type it.

A block that begins with ```` ```console ```` holds commands (lines that begin with `$ `). Each must end with
exit code 0. `<!-- expect: TEXT -->` after a block says what its output, on stdout or stderr, must hold.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
_PIECES = re.compile(r"^```console\n(?P<block>.*?)^```$|<!-- expect: (?P<expect>.*?) -->", flags=re.M | re.S)


@dataclass(frozen=True)
class Block:
    """Commands that stand together, and what their output must hold."""

    commands: tuple[str, ...]
    expected: tuple[str, ...]


def blocks_of(text: str) -> list[Block]:
    blocks: list[Block] = []
    for piece in _PIECES.finditer(text):
        if piece["block"] is not None:
            lines = piece["block"].splitlines()
            blocks.append(Block(tuple(line[2:] for line in lines if line.startswith("$ ")), ()))
        elif not blocks:
            raise ValueError(f"something is expected before the first block: {piece['expect']}")
        else:
            blocks[-1] = Block(blocks[-1].commands, (*blocks[-1].expected, piece["expect"]))
    return blocks


def run_block(block: Block, folder: Path) -> None:
    output = ""
    for command in block.commands:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        output += done.stdout
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"
    for text in block.expected:
        assert text in output, f"{text!r} is not in the output of {block.commands}:\n{output}"


def _environment(folder: Path) -> dict[str, str]:
    """The reader's environment: this Python's commands come first, and nothing of the reader's home is
    touched."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    commands = str(Path(sys.executable).parent)
    return os.environ | {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "NO_COLOR": "1",
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("tutorial", sorted(TUTORIALS.glob("*.md")), ids=lambda path: path.stem)
def test_a_tutorial_works_as_it_is_written(tutorial: Path, tmp_path: Path) -> None:
    blocks = blocks_of(tutorial.read_text(encoding="utf-8"))
    assert any(block.commands for block in blocks), "a tutorial without a command teaches nothing"
    folder = tmp_path / "reader"
    folder.mkdir()
    for block in blocks:
        run_block(block, folder)


EXAMPLE = """\
# A tutorial

```console
$ echo one > file
written
$ cat file
one
```

<!-- expect: one -->

Some words, and code that is not run:

```bash
$ exit 1
```

```console
$ cat file >&2
```

<!-- expect: on -->
<!-- expect: ne -->
"""


def test_blocks_are_found_with_what_they_expect() -> None:
    assert blocks_of(EXAMPLE) == [
        Block(("echo one > file", "cat file"), ("one",)),
        Block(("cat file >&2",), ("on", "ne")),
    ]
    with pytest.raises(ValueError, match="before the first block"):
        blocks_of("<!-- expect: x -->")


def test_commands_of_one_tutorial_share_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    for block in blocks_of(EXAMPLE):
        run_block(block, folder)
    assert (folder / "file").read_text() == "one\n"


@pytest.mark.parametrize(
    "block",
    [
        Block(("false",), ()),
        Block(("false | true",), ()),
        Block(("echo one",), ("two",)),
        Block(("no-such-command",), ()),
    ],
)
def test_what_does_not_work_is_noticed(block: Block, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    with pytest.raises(AssertionError):
        run_block(block, folder)


def test_the_program_of_this_environment_is_the_one_that_runs(tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    own = str(Path(sys.executable).parent)
    run_block(
        Block(("command -v python fedstyle-secure",), (f"{own}/python", f"{own}/fedstyle-secure")), folder
    )
