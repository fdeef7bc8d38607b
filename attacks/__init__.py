"""Attacks that an audit runs against what a threat model can see.

There are none yet: this package is the place and the name that `import attacks` finds. Until an audit exists,
nothing here says that a run withstood an attack.
"""

from __future__ import annotations

__all__: list[str] = []

# `fedstyle-secure doctor` looks for this line, to tell this package from another one of the same name.
__project__ = "fedstyle-secure"
