"""Adversaries, declared: who colludes, what they hold, whether they deviate from the protocol.

There are none yet: this package is the place and the name that `import threat_models` finds. A policy names
threat models already (`audit.threat_models`); so far they are only checked to be well-formed names.
"""

from __future__ import annotations

__all__: list[str] = []

# `fedstyle-secure doctor` looks for this line, to tell this package from another one of the same name.
__project__ = "fedstyle-secure"
