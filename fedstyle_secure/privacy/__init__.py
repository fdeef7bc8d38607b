"""Differential privacy for any vector, any module, any per-example loss: clip, noise, account, plan, refuse.

Flows in: rows or gradients computed from private examples. Flows out: noised sums, and the guarantee that
they carry. Nothing here knows what an example is; words such as "artwork" reach this package only as names to
print.
"""
