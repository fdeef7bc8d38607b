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
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.keys import Identity, Roster
from fedstyle_secure.secure_aggregation.masking import add_masks, check_words, pair_mask
from fedstyle_secure.secure_aggregation.packing import Layout, pack
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
    session_keys = {n: X25519PrivateKey.from_private_bytes(_fixed(f"session key {n}")) for n in names}
    roster = Roster([identities[n].public for n in names])
    session = Session(_fixed("session")[:16], _fixed("policy"), roster)
    label = Label("train", 7, _fixed("model"))
    public = {n: key.public_key().public_bytes_raw() for n, key in session_keys.items()}
    shared = session_keys["ana"].exchange(X25519PublicKey.from_public_bytes(public["Zoë"]))

    # 8200 values: one full ciphertext and one of a few coefficients.
    settings = SumSettings(length=8200, value_bits=16, value_limit=0.5, cohort_cap=16)
    layout = Layout.of(settings)
    encoded = np.arange(8200, dtype=np.uint32) * 7 % 65535
    words = check_words(_fixed("group secret"), ["ana"], session=session, label=label, layout=layout)
    mask = pair_mask(shared, session=session, label=label, settings=settings, own="ana", peer="Zoë")
    masked = []
    for block in layout.blocks():
        values = EncodedUpdate(encoded[block.first_value : block.first_value + block.values])
        rows = words[block.first_ciphertext : block.first_ciphertext + block.ciphertexts]
        packed = pack(values, layout=layout, block=block, check_words=rows)
        masked += add_masks(packed, [mask], layout=layout, block=block).words.ravel().tolist()

    client_message = write_as_client(
        MessageKind.UPLOAD, [b"a payload"], session=session, identity=identities["ana"], label=label
    )
    aggregator_message = write_as_aggregator(
        MessageKind.KEY_DELIVERY, [b"another"], session=session, recipient="Zoë"
    )
    return {
        "version": 1,
        "session_id": session.session_id.hex(),
        "policy_hash": session.policy_hash.hex(),
        "roster": {n: identities[n].public.public_key.hex() for n in names},
        "label": {"stage": label.stage, "round": label.round_number, "model_hash": label.model_hash.hex()},
        "client_message": client_message.hex(),
        "aggregator_message": aggregator_message.hex(),
        "session_private_keys": {n: _fixed(f"session key {n}").hex() for n in names},
        "session_public_keys": {n: key.hex() for n, key in public.items()},
        "group_secret": _fixed("group secret").hex(),
        "settings": settings.to_bytes().hex(),
        "pair_mask_key": mask.key.hex(),
        "masked_words": {
            "count": len(masked),
            "first": masked[:8],
            "last": masked[-8:],
            "sha256_of_8_byte_little_endian_words": hashlib.sha256(np.array(masked, "<u8")).hexdigest(),
        },
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(build(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
