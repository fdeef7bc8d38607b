"""The secrets behind a client's masks, one pair for each sum, and the shares of them that others hold.

Flows in: the operating system's randomness; shares from other clients. Flows out: public mask keys, shares
for each holder, and for one sum at a time the seeds of its masks. Never seen here: vectors, signatures.

Each slot of a set-up, that is each sum, has two seeds of its own: `mask_seed`, the X25519 private key behind
the masks with neighbours, and `self_seed` behind the client's own mask. A seed that was reconstructed opens
nothing of another slot. (Were the mask key one for the whole session, reconstructing it after a dropout would
open the same client's earlier vectors, whose own masks have come off already.)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from jaxtyping import UInt8

from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.secret_sharing import SECRET_BYTES, split

__all__ = ["SHARES_BYTES_PER_SLOT", "HeldShares", "SlotSecrets", "mask_key"]

_SEEDS: Final = 2
_MASK_SEED, _SELF_SEED = 0, 1
SHARES_BYTES_PER_SLOT: Final = _SEEDS * SECRET_BYTES
"""Bytes of one holder's shares of one client's seeds of one slot."""


def mask_key(mask_seed: bytes) -> bytes:
    """The public X25519 key of a mask seed, 32 bytes."""
    return X25519PrivateKey.from_private_bytes(mask_seed).public_key().public_bytes_raw()


@final
class SlotSecrets:
    """A client's own seeds of one set-up. Secret: printing and pickling give nothing away.

    Args:
        slots: how many sums the set-up prepares.

    Attributes:
        mask_keys: the public X25519 key of each slot, 32 bytes.
    """

    def __init__(self, slots: int) -> None:
        random = bytearray(os.urandom(slots * SHARES_BYTES_PER_SLOT))
        self._seeds: UInt8[np.ndarray, "slots 2 32"] = np.frombuffer(random, np.uint8).reshape(
            slots, _SEEDS, SECRET_BYTES
        )
        self.mask_keys = tuple(mask_key(seeds[_MASK_SEED].tobytes()) for seeds in self._seeds)

    def __repr__(self) -> str:
        return f"SlotSecrets({len(self.mask_keys)} slots, hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("SlotSecrets are secret and cannot be pickled or copied")

    def split(self, *, holders: int, threshold: int) -> list[bytes]:
        """Shares of all seeds, for each holder in order.

        Args:
            holders: how many holders.
            threshold: how many of them reconstruct a seed.
        """
        shares = split(self._seeds.reshape(-1, SECRET_BYTES), holders=holders, threshold=threshold)
        return [share.tobytes() for share in shares]

    def take(self, slot: int) -> tuple[bytes, bytes]:
        """Mask seed and self seed of a slot, which is forgotten here: once for each slot."""
        seeds = self._seeds[slot]
        assert seeds.any(), "a slot's seeds are taken once; zeros would be a mask that everybody knows"
        taken = seeds[_MASK_SEED].tobytes(), seeds[_SELF_SEED].tobytes()
        seeds[:] = 0
        return taken


@final
@dataclass(frozen=True)
class HeldShares:
    """The shares of other clients' seeds, and of its own, that one client holds. Secret.

    Attributes:
        shares: whose -> shares of all slots, as `SlotSecrets.split` gave them.
    """

    shares: Mapping[ClientId, UInt8[np.ndarray, "slots 2 32"]]

    def __repr__(self) -> str:
        return f"HeldShares(of {len(self.shares)} clients, hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("HeldShares are secret and cannot be pickled or copied")

    @classmethod
    def of(cls, shares: Mapping[ClientId, bytes]) -> HeldShares:
        """Shares as they came out of boxes of the right size."""
        return cls(
            {
                owner: np.frombuffer(bytearray(data), np.uint8).reshape(-1, _SEEDS, SECRET_BYTES)
                for owner, data in shares.items()
            }
        )

    def reveal(self, slot: int, *, survivors: Sequence[ClientId]) -> bytes:
        """For each client of whom there are shares, in the order given at the start, one of the two.

        The self seed's of a survivor, the mask seed's of anybody else; never both, since the slot's shares
        are forgotten here.

        Args:
            slot: which sum.
            survivors: who is in it.
        """
        alive = set(survivors)
        revealed = []
        for owner, shares in self.shares.items():
            revealed.append(shares[slot, _SELF_SEED if owner in alive else _MASK_SEED].tobytes())
            shares[slot] = 0
        return b"".join(revealed)

    def forget(self, slot: int) -> None:
        """Drop the shares of a slot whose sum is open."""
        for shares in self.shares.values():
            shares[slot] = 0
