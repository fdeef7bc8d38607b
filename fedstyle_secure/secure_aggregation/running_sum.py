"""The aggregator's sum of encrypted updates. It has no key and no way to be given one.

Flows in: uploads, one after the other; in the end, the masks that are left in their sum. Flows out: the
sealed sum without these masks. Never seen here: a decryption key, a plaintext.

The sum is kept as one SEAL ciphertext for each ciphertext of the vector, 16 bytes a coefficient, whatever the
number of clients. SEAL expands the second polynomial of an upload from its seed and adds. Masks come off the
first polynomial alone: c0 - round(q m / t) is what SEAL's `sub_plain` makes of it, word for word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, final

import numpy as np

from fedstyle_secure.secure_aggregation.coefficients import Words, cut, restore, scale_up, subtract
from fedstyle_secure.secure_aggregation.encryption import SealedSum
from fedstyle_secure.secure_aggregation.fastest_arithmetic import fastest_arithmetic
from fedstyle_secure.secure_aggregation.frames import UploadFrame
from fedstyle_secure.secure_aggregation.packing import Block, Layout
from fedstyle_secure.secure_aggregation.parameters import RING_DEGREE, ParameterSet
from fedstyle_secure.secure_aggregation.refusals import unexpected
from fedstyle_secure.secure_aggregation.seal_arithmetic import SealArithmetic
from fedstyle_secure.secure_aggregation.vectors import EncryptedUpdate

__all__ = ["BlockSum", "RunningSum"]


@final
class BlockSum:
    """The running sum of one block.

    Args:
        parameters: parameter set.
        arithmetic: SEAL under it.
    """

    def __init__(self, parameters: ParameterSet, arithmetic: SealArithmetic) -> None:
        self._parameters = parameters
        self._arithmetic = arithmetic
        self._totals: list[Any] = []
        self._coefficients = 0

    def add(self, update: EncryptedUpdate) -> None:
        """Add one client's block.

        Args:
            update: coefficients that `largest_cut` allows, of the same shape each time.
        """
        self._coefficients = update.c0.shape[1]
        c0 = restore(update.c0, self._parameters.c0_cut_bits)
        if self._coefficients < RING_DEGREE:
            c0 = np.pad(c0, ((0, 0), (0, RING_DEGREE - self._coefficients)))
        pairs = zip(c0, update.seeds, strict=True)
        expanded = (self._arithmetic.expand(polynomial, seed.data) for polynomial, seed in pairs)
        if not self._totals:
            self._totals = list(expanded)
            return
        for total, ciphertext in zip(self._totals, expanded, strict=True):
            self._arithmetic.add_in_place(total, ciphertext)

    def sealed(self, masks: Words) -> SealedSum:
        """The sum so far, without masks.

        Args:
            masks: the sum of the masks to take off, modulo 2^plain_bits: words below 2^plain_bits, one for
                each coefficient that travels.

        Returns:
            The sum, cut as the parameter set says.
        """
        parameters = self._parameters
        both = np.empty((len(self._totals), 2, RING_DEGREE), np.uint64)
        for row, total in zip(both, self._totals, strict=True):
            row[:] = self._arithmetic.polynomials(total, 2)
        c0 = subtract(both[:, 0, : self._coefficients], scale_up(masks, parameters.plain_bits))
        return SealedSum(cut(c0, parameters.c0_cut_bits), cut(both[:, 1], parameters.c1_cut_bits))


@final
class RunningSum:
    """The sum of whole uploads.

    Args:
        layout: layout of the sum, which every upload must have.

    Attributes:
        clients: how many uploads are in the sum.
    """

    def __init__(self, layout: Layout) -> None:
        parameters, arithmetic = layout.parameters, fastest_arithmetic(layout.parameters)
        self.clients = 0
        self._layout = layout
        self._blocks = [(block, BlockSum(parameters, arithmetic)) for block in layout.blocks()]

    def __repr__(self) -> str:
        return f"RunningSum({self.clients} clients, {self._layout.settings})"

    def add(self, frame: UploadFrame) -> None:
        """Add one client's upload.

        Args:
            frame: an upload of which no block has been taken yet; every coefficient in it is in range.

        Raises:
            ProtocolError: it has other settings, or the sum is full; the sum is as before.
        """
        settings = self._layout.settings
        if frame.settings != settings:
            raise unexpected(f"{frame.sender} uploads under other settings than those of the sum")
        if self.clients == settings.cohort_cap:
            raise unexpected(f"{frame.sender} uploads to a sum that has no room for more clients")
        for block, total in self._blocks:
            total.add(frame.next_block(block))
        self.clients += 1

    def sealed_blocks(self, masks: Callable[[Block], Words]) -> Iterator[tuple[Block, SealedSum]]:
        """The sum, block by block, without masks. The running sum itself stays as it is.

        Args:
            masks: for a block, the sum of the masks to take off, as `BlockSum.sealed` wants it.

        Returns:
            Each block of the layout, in order, with its sum.
        """
        assert self.clients, "add comes before sealed_blocks"
        for block, total in self._blocks:
            yield block, total.sealed(masks(block))
