"""How the documentation is built: `sphinx-build -W -b html docs docs/_build`."""

from __future__ import annotations

from fedstyle_secure import __version__

project = "fedstyle-secure"
author = "the fedstyle-secure contributors"
release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # so that pages can point at one error code or one key
nitpicky = True

html_theme = "furo"
html_title = f"fedstyle-secure {release}"
html_show_copyright = False
