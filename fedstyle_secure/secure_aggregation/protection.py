"""The path of a vector: encode, tag, pack, mask, encrypt; and of a sum: decrypt, unpack, check.

Flows in: one client's clipped update, its masks and the secrets that all clients share; a sealed sum. Flows
out: payload bytes of an upload; an opened sum. Never leaves: unmasked updates, keys.

Blocks of a few ciphertexts go through all steps one after the other, so a long vector needs the memory of its
upload and of one block. A block depends on no other, which leaves room for several workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn, final

import numpy as np

from fedstyle_secure.secure_aggregation.encoding import IntegerSum, Rounding, SumSettings, encode
from fedstyle_secure.secure_aggregation.encryption import BfvKey, KeyHolder
from fedstyle_secure.secure_aggregation.frames import SumFrame, write_upload_block, write_upload_head
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.masking import StreamMask, add_masks
from fedstyle_secure.secure_aggregation.packing import Layout, pack, unpack
from fedstyle_secure.secure_aggregation.parameters import ParameterSet
from fedstyle_secure.secure_aggregation.tags import LinearTags
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate
from fedstyle_secure.secure_aggregation.wire import Label, Session

__all__ = ["Protector"]


@final
class Protector:
    """What a client can do once it has the keys that all clients share. Secret: printing gives nothing away.

    Args:
        client_id: this client.
        session: the session.
        key: the decryption key.
        group_secret: what all clients know and the aggregator does not; tags come from it.
        rounding: how values are rounded to integers.
    """

    def __init__(
        self,
        *,
        client_id: ClientId,
        session: Session,
        key: BfvKey,
        group_secret: bytes,
        rounding: Rounding,
    ) -> None:
        self._client_id = client_id
        self._session = session
        self._key = key
        self._group_secret = group_secret
        self._rounding = rounding
        self._key_holders: dict[ParameterSet, KeyHolder] = {}

    def __repr__(self) -> str:
        return f"Protector({self._client_id!r}, secrets hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Protector holds secrets and cannot be pickled or copied")

    def protect(
        self,
        update: ClippedUpdate,
        *,
        settings: SumSettings,
        label: Label,
        masks: Sequence[StreamMask],
    ) -> Iterator[bytes]:
        """The payload of an upload, piece by piece. For one label once: tags have no other randomness.

        Args:
            update: the whole vector, checked by `require_encodable`.
            settings: public constants of the sum.
            label: which sum.
            masks: this client's masks for this sum, used for nothing else.
        """
        layout, tags = Layout.of(settings), self._tags(settings, label)
        yield write_upload_head(settings)
        for block in layout.blocks():
            values = update.values[block.first_value : block.first_value + block.values]
            encoded = encode(ClippedUpdate(values), settings, rounding=self._rounding)
            tag_words = tags.of(encoded, client=self._client_id, block=block)
            packed = pack(encoded, layout=layout, block=block, tag_words=tag_words)
            masked = add_masks(packed, masks, layout=layout, block=block)
            yield from write_upload_block(self._key_holder(layout).encrypt(masked), layout)

    def open(
        self, frame: SumFrame, *, settings: SumSettings, label: Label, survivors: Sequence[ClientId]
    ) -> IntegerSum:
        """Decrypt, unpack and check a sum.

        Args:
            frame: the sum, without masks.
            settings: public constants of the sum.
            label: which sum.
            survivors: whose uploads the sum is made of, by a list that this client trusts.

        Returns:
            The sum of the survivors' encoded values; see `LinearTags` for against whom this holds.

        Raises:
            ProtocolError: the sum does not add up.
        """
        layout, tags = Layout.of(settings), self._tags(settings, label)
        largest = len(survivors) * settings.largest_encoded
        opened = np.empty(settings.length, np.int32 if largest < 2**31 else np.int64)
        for block, sealed in frame.blocks():
            words = self._key_holder(layout).decrypt(sealed)
            values, tag_words = unpack(words, layout=layout, block=block, clients=len(survivors))
            tags.require(values, tag_words, survivors=survivors, block=block)
            opened[block.first_value : block.first_value + block.values] = values
        return IntegerSum(opened, len(survivors))

    def _tags(self, settings: SumSettings, label: Label) -> LinearTags:
        return LinearTags(self._group_secret, session=self._session, label=label, settings=settings)

    def _key_holder(self, layout: Layout) -> KeyHolder:
        if layout.parameters not in self._key_holders:
            self._key_holders[layout.parameters] = KeyHolder(layout.parameters, self._key)
        return self._key_holders[layout.parameters]
