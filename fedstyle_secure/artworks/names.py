"""Names of folders and files: made comparable, and refused where they could deceive.

Flows in: names from a file system. Flows out: names in one Unicode form, safe to print. Never seen here:
contents.
"""

from __future__ import annotations

import unicodedata

__all__ = ["is_printable_name", "normal_name", "shown_name"]

_REFUSED_CATEGORIES = frozenset(
    {"Cc", "Cs", "Zl", "Zp"}
)  # control, undecodable bytes, line and paragraph separators
# Marks that reverse the reading direction make "gpj.exe" read "exe.jpg".
_DIRECTION_MARKS = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def normal_name(name: str) -> str:
    """The name in Unicode normal form C, so that the same name typed on two systems is the same."""
    return unicodedata.normalize("NFC", name)


def is_printable_name(name: str) -> bool:
    """Whether a name has something to show and no control characters, newlines or direction marks."""
    return bool(name.strip()) and not any(
        unicodedata.category(sign) in _REFUSED_CATEGORIES or sign in _DIRECTION_MARKS for sign in name
    )


def shown_name(name: str) -> str:
    """The name with everything escaped that a terminal would not show as it is."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)
