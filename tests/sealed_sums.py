"""Sums of single blocks, for tests of what clients do with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tenseal.sealapi as seal

from fedstyle_secure.secure_aggregation.encryption import BfvKey, SealedSum
from fedstyle_secure.secure_aggregation.fastest_arithmetic import fastest_arithmetic
from fedstyle_secure.secure_aggregation.parameters import ParameterSet
from fedstyle_secure.secure_aggregation.running_sum import BlockSum
from fedstyle_secure.secure_aggregation.tenseal_arithmetic import TensealArithmetic
from fedstyle_secure.secure_aggregation.vectors import EncryptedUpdate, MaskedUpdate


def random_words(
    shape: tuple[int, int], *, parameters: ParameterSet, rng: np.random.Generator
) -> MaskedUpdate:
    """Uniform words below the plain modulus, as masks make them."""
    return MaskedUpdate(rng.integers(0, 2**parameters.plain_bits, shape, dtype=np.uint64))


def sealed_sum(
    updates: Iterable[EncryptedUpdate], *, parameters: ParameterSet, masks: np.ndarray | None = None
) -> SealedSum:
    """Add blocks of the same shape as the aggregator does, and take masks off if there are any."""
    total = BlockSum(parameters, fastest_arithmetic(parameters))
    for update in updates:
        total.add(update)
    return total.sealed(np.zeros_like(update.c0) if masks is None else masks)


def secret_words(key: BfvKey, parameters: ParameterSet) -> np.ndarray:
    """The key's polynomial as words below the plain modulus."""
    return (key.secret_polynomial().astype(np.int64) % 2**parameters.plain_bits).astype(np.uint64)


def secret_key(tenseal: TensealArithmetic, key: BfvKey, parameters: ParameterSet) -> Any:
    """The key as SEAL's own classes want it."""
    plaintext = tenseal.plaintext(secret_words(key, parameters))
    tenseal.evaluator.transform_to_ntt_inplace(plaintext, tenseal.context.key_parms_id())
    return tenseal.convert(plaintext, seal.SecretKey())
