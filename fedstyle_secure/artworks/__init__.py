"""Artworks: from a folder per artist, or painted on the spot by the atelier, to square images in memory.

Flows in: a folder, or a seed. Flows out: an `ArtworkCollection` of pixels with notices. Never seen outside:
metadata of files. Never seen here: features, models, keys.
"""
