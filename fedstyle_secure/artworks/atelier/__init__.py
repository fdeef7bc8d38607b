"""Procedural painters: any number of invented artists with plainly different hands, any number of works each.

Flows in: counts and a seed. Flows out: an `ArtworkCollection`. Never seen here: real artworks. The atelier is
the embedded default of the demo, an unlimited test set, and the public data on which encoders are prepared;
it copies nobody.
"""

from __future__ import annotations

from fedstyle_secure.artworks.atelier.painter import Painter
from fedstyle_secure.artworks.atelier.studio import (
    demo_painter,
    paint_atelier,
    paint_public_painters,
    public_painter,
    write_atelier,
)

__all__ = [
    "Painter",
    "demo_painter",
    "paint_atelier",
    "paint_public_painters",
    "public_painter",
    "write_atelier",
]
