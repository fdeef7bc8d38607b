"""The command line: one module a command, behind one entry.

Flows in: arguments. Flows out: results on stdout, talk on stderr, and an exit code that never
changes its meaning.
"""

from __future__ import annotations
