"""Style: public features of artworks, the head trained on them, the index that is searched, and metrics.

Flows in: square images. Flows out: embeddings, losses per artwork, ranked artists, numbers of quality. Never
seen here: noise, keys, messages; how a thing is made private is no concern of this package, but every loss
in it can be.
"""
