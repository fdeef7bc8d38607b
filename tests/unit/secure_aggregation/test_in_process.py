from __future__ import annotations

import numpy as np
import pytest

from fedstyle_secure.secure_aggregation import sum_securely


@pytest.mark.parametrize("clients", [2, 3, 17])
def test_the_sum_is_right_to_a_rounding_step_a_client(clients: int) -> None:
    rng = np.random.default_rng(clients)
    vectors = {f"client {index}": rng.uniform(-3, 3, 777) for index in range(clients)}
    total = sum_securely(vectors, value_limit=3.0, value_bits=16)
    np.testing.assert_allclose(total, sum(vectors.values()), atol=clients * 3.0 / (2**15 - 1))


def test_more_bits_bring_the_sum_closer() -> None:
    rng = np.random.default_rng(0)
    vectors = {name: rng.uniform(-1, 1, 2000) for name in ("ana", "ben", "cem")}
    errors = [
        np.abs(sum_securely(vectors, value_limit=1.0, value_bits=bits) - sum(vectors.values())).mean()
        for bits in (8, 16, 24)
    ]
    assert errors[0] > 100 * errors[1] > 10_000 * errors[2]
