"""The sum in the clear, as the measure of all prices: float32 values, each role in a process of its own.

python tests/benchmarks/plain_sum.py ROLE SETTINGS is started by `secure_aggregation.py`.
"""

from __future__ import annotations

import io
import sys
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
from measured_roles import Meter, error_of_mean, example_vector, serve, together


@final
class Provision:
    """Nothing to prepare."""

    def provision(self) -> dict[str, Any]:
        return {}


@final
class Client:
    """Writes its vector."""

    def upload(self, *, client: int, out: str, **vector: Any) -> dict[str, Any]:
        values = example_vector(client, **vector)
        message, cost = Meter().run(lambda: _write(values))
        Path(out).write_bytes(message)
        return cost | {"bytes": len(message)}


@final
class Aggregator:
    """Averages all vectors."""

    def sum(self, *, uploads: list[str], out: str, length: int) -> dict[str, Any]:
        meter, costs = Meter(), []
        total = np.zeros(length, np.float32)
        for path in uploads:
            message = Path(path).read_bytes()
            add = partial(_add, total, message)
            costs.append(meter.run(add)[1])
        message, cost = meter.run(lambda: _write(np.divide(total, np.float32(len(uploads)), out=total)))
        Path(out).write_bytes(message)
        return together([*costs, cost]) | {"bytes": len(message)}


@final
class Opener:
    """Reads the mean."""

    def open(self, *, message: str, contributors: list[int], **vector: Any) -> dict[str, Any]:
        meter = Meter()
        received = [Path(message).read_bytes()]
        mean, cost = meter.run(lambda: _read(received.pop()))
        return cost | {"max_error": error_of_mean(mean, contributors, **vector)}


def _add(total: np.ndarray, message: bytes) -> None:
    total += _read(message)


def _write(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def _read(message: bytes) -> np.ndarray:
    return np.asarray(np.load(io.BytesIO(message), allow_pickle=False))


if __name__ == "__main__":
    roles = {"provision": Provision, "client": Client, "aggregator": Aggregator, "opener": Opener}
    serve(roles[sys.argv[1]]())
