from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedstyle_secure.secure_aggregation.secret_sharing import SECRET_BYTES, combine
from fedstyle_secure.secure_aggregation.slot_secrets import (
    SHARES_BYTES_PER_SLOT,
    HeldShares,
    SlotSecrets,
    mask_key,
)


def rows(*shares: bytes) -> np.ndarray:
    """Shares of one secret by several holders, as `combine` takes them."""
    return np.stack([np.frombuffer(share, np.uint8) for share in shares]).reshape(len(shares), 1, -1)


def test_every_slot_has_two_seeds_of_its_own_and_the_public_key_of_one() -> None:
    slots = 5
    own = SlotSecrets(slots)
    keys = own.mask_keys
    seeds = [own.take(slot) for slot in range(slots)]
    assert len({seed for pair in seeds for seed in pair}) == 2 * slots
    assert all(len(seed) == SECRET_BYTES for pair in seeds for seed in pair)
    for key, (mask_seed, _) in zip(keys, seeds, strict=True):
        assert key == X25519PrivateKey.from_private_bytes(mask_seed).public_key().public_bytes_raw()
        assert key == mask_key(mask_seed)


def test_no_two_clients_and_no_two_set_ups_share_a_seed() -> None:
    keys = [key for _ in range(3) for key in SlotSecrets(4).mask_keys]
    assert len(set(keys)) == len(keys)


def test_seeds_that_were_taken_are_forgotten_and_the_others_stay() -> None:
    own = SlotSecrets(3)
    before = own._seeds.tobytes()
    taken = own.take(1)
    for seed in taken:
        assert seed in before
        assert seed not in own._seeds.tobytes()
    assert [mask_key(own.take(slot)[0]) for slot in (0, 2)] == [own.mask_keys[0], own.mask_keys[2]]


def test_as_many_holders_as_the_threshold_bring_every_seed_back() -> None:
    own = SlotSecrets(2)
    shares = own.split(holders=5, threshold=3)
    assert [len(share) for share in shares] == [2 * SHARES_BYTES_PER_SLOT] * 5
    seeds = [seed for slot in range(2) for seed in own.take(slot)]
    for holders in ([0, 1, 2], [4, 0, 3]):
        stacked = np.stack([np.frombuffer(shares[holder], np.uint8) for holder in holders])
        combined = combine(stacked.reshape(3, -1, SECRET_BYTES), holders=holders)
        assert [seed.tobytes() for seed in combined] == seeds


def held_by_each(owners: dict[str, SlotSecrets], *, threshold: int) -> list[HeldShares]:
    splits = {name: own.split(holders=len(owners), threshold=threshold) for name, own in owners.items()}
    return [
        HeldShares.of({name: split[place] for name, split in splits.items()}) for place in range(len(owners))
    ]


def test_survivors_self_seeds_and_the_mask_seeds_of_all_others_come_back() -> None:
    owners = {name: SlotSecrets(2) for name in ("ana", "ben", "cem")}
    held = held_by_each(owners, threshold=2)
    revealed = [shares.reveal(1, survivors=["ben", "ana"]) for shares in held]
    assert {len(part) for part in revealed} == {3 * SECRET_BYTES}
    for place, (name, own) in enumerate(owners.items()):
        mask_seed, self_seed = own.take(1)
        part = slice(place * SECRET_BYTES, (place + 1) * SECRET_BYTES)
        for holders in ([0, 1], [2, 0]):
            seed = combine(rows(*(revealed[holder][part] for holder in holders)), holders=holders)
            assert seed.tobytes() == (mask_seed if name == "cem" else self_seed)


def test_the_share_that_was_not_revealed_is_forgotten_and_other_slots_stay() -> None:
    owners = {name: SlotSecrets(3) for name in ("ana", "ben")}
    held, *_ = held_by_each(owners, threshold=2)
    before = {name: shares.copy() for name, shares in held.shares.items()}
    held.reveal(1, survivors=["ana"])
    for name, shares in held.shares.items():
        assert not shares[1].any()
        np.testing.assert_array_equal(shares[[0, 2]], before[name][[0, 2]])
        for share in before[name][1]:
            assert share.tobytes() not in shares.tobytes()


def test_secrets_are_neither_shown_nor_copied() -> None:
    own = SlotSecrets(2)
    held = HeldShares.of({"ana": own.split(holders=2, threshold=2)[0]})
    assert repr(own) == "SlotSecrets(2 slots, hidden)"
    assert repr(held) == "HeldShares(of 1 clients, hidden)"
    for secret in (own, held):
        for copier in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                copier(secret)
