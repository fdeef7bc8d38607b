"""The path of a vector: encode, pack, mask, encrypt; and of a sum: decrypt, check, unpack.

Flows in: one client's clipped update and its session secrets; a sealed sum. Flows out: payload bytes of an
upload; an opened sum. Never leaves: unmasked updates, keys.

Blocks of a few ciphertexts go through all steps one after the other, so a long vector needs the memory of its
upload and of one block. A block depends on no other, which leaves room for several workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NoReturn, final

import numpy as np
from jaxtyping import UInt64

from fedstyle_secure.secure_aggregation.encoding import IntegerSum, Rounding, SumSettings, encode
from fedstyle_secure.secure_aggregation.encryption import BfvKey, KeyHolder
from fedstyle_secure.secure_aggregation.frames import SumFrame, write_upload_block, write_upload_head
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.key_exchange import PairSecret
from fedstyle_secure.secure_aggregation.masking import add_masks, check_words, derive_key, pair_mask
from fedstyle_secure.secure_aggregation.packing import Block, Layout, pack, unpack
from fedstyle_secure.secure_aggregation.parameters import ParameterSet
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate
from fedstyle_secure.secure_aggregation.wire import Label, Session

__all__ = ["Protector"]


@final
class Protector:
    """What a client can do once it has all keys of a session. Secret: printing gives nothing away.

    Args:
        client_id: this client.
        session: the session.
        pairs: secret shared with each other client of the roster.
        key: the session's decryption key.
        rounding: how values are rounded to integers.
    """

    def __init__(
        self,
        *,
        client_id: ClientId,
        session: Session,
        pairs: Mapping[ClientId, PairSecret],
        key: BfvKey,
        rounding: Rounding,
    ) -> None:
        self._client_id = client_id
        self._session = session
        self._pairs = pairs
        self._key = key
        self._rounding = rounding
        self._group_secret = derive_key(key.to_bytes(), session.binding("group secret"))
        self._key_holders: dict[ParameterSet, KeyHolder] = {}

    def __repr__(self) -> str:
        return f"Protector({self._client_id!r}, secrets hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Protector holds secrets and cannot be pickled or copied")

    def protect(self, update: ClippedUpdate, *, settings: SumSettings, label: Label) -> Iterator[bytes]:
        """The payload of an upload, piece by piece. For one label once: the masks depend on nothing else.

        Args:
            update: the whole vector, checked by `require_encodable`.
            settings: public constants of the sum.
            label: which sum.
        """
        layout = Layout.of(settings)
        masks = [
            pair_mask(
                pair.shared_secret,
                session=self._session,
                label=label,
                settings=settings,
                own=self._client_id,
                peer=peer,
            )
            for peer, pair in self._pairs.items()
        ]
        own_words = check_words(
            self._group_secret, [self._client_id], session=self._session, label=label, layout=layout
        )
        yield write_upload_head(settings)
        for block in layout.blocks():
            values = update.values[block.first_value : block.first_value + block.values]
            encoded = encode(ClippedUpdate(values), settings, rounding=self._rounding)
            packed = pack(encoded, layout=layout, block=block, check_words=_rows(own_words, block))
            masked = add_masks(packed, masks, layout=layout, block=block)
            yield from write_upload_block(self._key_holder(layout).encrypt(masked), layout)

    def open(self, frame: SumFrame, *, settings: SumSettings, label: Label) -> IntegerSum:
        """Decrypt, check and unpack a sum of all clients.

        Args:
            frame: the sum, with all clients in it.
            settings: public constants of the sum.
            label: which sum.

        Raises:
            ProtocolError: the sum does not add up.
        """
        layout, clients = Layout.of(settings), len(self._session.roster)
        expected = check_words(
            self._group_secret, self._session.roster, session=self._session, label=label, layout=layout
        )
        values = np.empty(settings.length, np.int64)
        for block, sealed in frame.blocks():
            values[block.first_value : block.first_value + block.values] = unpack(
                self._key_holder(layout).decrypt(sealed),
                layout=layout,
                block=block,
                clients=clients,
                check_words=_rows(expected, block),
            )
        return IntegerSum(values, clients)

    def _key_holder(self, layout: Layout) -> KeyHolder:
        if layout.parameters not in self._key_holders:
            self._key_holders[layout.parameters] = KeyHolder(layout.parameters, self._key)
        return self._key_holders[layout.parameters]


def _rows(
    words: UInt64[np.ndarray, "ciphertexts check_words"], block: Block
) -> UInt64[np.ndarray, "block_ciphertexts check_words"]:
    return words[block.first_ciphertext : block.first_ciphertext + block.ciphertexts]
