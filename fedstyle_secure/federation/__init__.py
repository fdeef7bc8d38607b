"""Where art meets protection: one run of private federated style learning.

Read `round.py` first, then `session.py`. Flows in: a policy and each artist's public-encoder features. Flows
out: released numbers only (a global head, a centre, prototypes). Never crosses an artist's line
unprotected: artworks, features, counts, unclipped or unnoised sums.
"""
