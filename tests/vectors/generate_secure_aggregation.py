"""Writes secure_aggregation.json.

    python tests/vectors/generate_secure_aggregation.py

Run it only when the wire format changes on purpose, with a new version number. All inputs are fixed, public
and worthless as secrets. `test_secure_aggregation_vectors.py` checks the file twice: against the package, and
against an implementation of its own that imports nothing of the package.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.keys import Identity, Roster
from fedstyle_secure.secure_aggregation.masking import MaskContext, add_masks
from fedstyle_secure.secure_aggregation.packing import Layout, pack
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.slot_secrets import mask_key
from fedstyle_secure.secure_aggregation.tags import LinearTags
from fedstyle_secure.secure_aggregation.vectors import EncodedUpdate
from fedstyle_secure.secure_aggregation.wire import (
    Label,
    MessageKind,
    Session,
    write_as_aggregator,
    write_as_client,
)

PATH = Path(__file__).with_name("secure_aggregation.json")


def _fixed(name: str) -> bytes:
    return hashlib.sha256(b"fedstyle-secure test vector: " + name.encode()).digest()


def build() -> dict[str, object]:
    """The vectors, from the package's own functions."""
    names = ["ana", "Zoë"]
    identities = {
        n: Identity(n, Ed25519PrivateKey.from_private_bytes(_fixed(f"identity {n}"))) for n in names
    }
    mask_seeds = {n: _fixed(f"mask seed {n}") for n in names}
    mask_keys = {n: mask_key(seed) for n, seed in mask_seeds.items()}
    roster = Roster([identities[n].public for n in names])
    quorum = Quorum(minimum=2, colluding=1)
    session = Session(_fixed("session")[:16], _fixed("policy"), roster, quorum, slots=5)
    label = Label("train", 7, _fixed("model"), epoch=2, slot=3)

    # 8200 values: one full ciphertext and one of a few coefficients.
    settings = SumSettings(length=8200, value_bits=16, value_limit=0.5, cohort_cap=16)
    layout = Layout.of(settings)
    encoded = np.arange(8200, dtype=np.uint32) * 7 % 65535
    tags = LinearTags(_fixed("group secret"), session=session, label=label, settings=settings)
    context = MaskContext(session, _fixed("cohort"), label, layout)
    own_mask = context.own_mask(_fixed("self seed"), "Zoë")
    pair_mask = context.pair_mask(mask_seeds["Zoë"], mask_keys["ana"], owner="Zoë", peer="ana")
    tag_words, masked = [], []
    for block in layout.blocks():
        values = EncodedUpdate(encoded[block.first_value : block.first_value + block.values])
        words = tags.of(values, client="Zoë", block=block)
        tag_words += words.tolist()
        packed = pack(values, layout=layout, block=block, tag_words=words)
        masked += add_masks(packed, [own_mask, pair_mask], layout=layout, block=block).words.ravel().tolist()

    client_message = write_as_client(
        MessageKind.UPLOAD, [b"a payload"], session=session, identity=identities["ana"], label=label
    )
    aggregator_message = write_as_aggregator(
        MessageKind.SHARE_DELIVERY, [b"another"], session=session, recipient="Zoë"
    )
    return {
        "version": client_message[4],
        "session_id": session.session_id.hex(),
        "policy_hash": session.policy_hash.hex(),
        "quorum": {"minimum": quorum.minimum, "colluding": quorum.colluding},
        "slots": session.slots,
        "roster": {n: identities[n].public.public_key.hex() for n in names},
        "label": {
            "stage": label.stage,
            "round": label.round_number,
            "model_hash": label.model_hash.hex(),
            "epoch": label.epoch,
            "slot": label.slot,
        },
        "client_message": client_message.hex(),
        "aggregator_message": aggregator_message.hex(),
        "cohort": _fixed("cohort").hex(),
        "mask_seeds": {n: seed.hex() for n, seed in mask_seeds.items()},
        "mask_keys": {n: key.hex() for n, key in mask_keys.items()},
        "self_seed": _fixed("self seed").hex(),
        "group_secret": _fixed("group secret").hex(),
        "settings": settings.to_bytes().hex(),
        "own_mask_key": own_mask.key.hex(),
        "pair_mask_key": pair_mask.key.hex(),
        "tag_words": tag_words,
        "masked_words": {
            "count": len(masked),
            "first": masked[:8],
            "last": masked[-8:],
            "sha256_of_8_byte_little_endian_words": hashlib.sha256(np.array(masked, "<u8")).hexdigest(),
        },
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(build(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
