"""The parties of this package's secure sum as roles of a benchmark. All calls of the protocol are here.

python tests/benchmarks/secure_sum_roles.py ROLE SETTINGS is started by `secure_aggregation.py`.

One client is measured; the others are a crowd in one process. All round at random, as in production; see
`measured_roles.example_vector` for how the sum is known beforehand nevertheless.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import numpy as np
from measured_roles import Meter, example_vector, serve, steps_per_unit, together

from fedstyle_secure.secure_aggregation import (
    ClippedUpdate,
    Identity,
    PublicIdentity,
    Roster,
    SumAggregator,
    SumClient,
    SumSettings,
    SystemRounding,
    client_setup,
    decode,
)
from fedstyle_secure.secure_aggregation.encoding import encode
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.statement import Statement

__all__ = ["SETUP_STAGES", "SUM_STAGES", "sum_settings"]

SETUP_STAGES: Final = ("advertise", "share", "agree")
"""Exchanges of a set-up; after the last one a client takes the answer by `accept`."""
SUM_STAGES: Final = ("upload", "confirm", "unmask")
"""Exchanges of one sum; after the last one a client takes the answer by `open`."""


def sum_settings(*, length: int, value_bits: int, clients: int) -> SumSettings:
    """Constants of a sum with the grid of `example_vector`."""
    limit = (2 ** (value_bits - 1) - 1) / steps_per_unit(value_bits)
    return SumSettings(length=length, value_bits=value_bits, value_limit=limit, cohort_cap=max(2, clients))


class _Place(NamedTuple):
    """Which set-up and which sum is being made."""

    epoch: int
    slot: int
    settings: SumSettings


def _place(*, epoch: int, slot: int, settings: str) -> _Place:
    return _Place(epoch, slot, SumSettings.from_bytes(bytes.fromhex(settings)))


@final
class Client:
    """The client that is measured.

    Args:
        name: its name on the roster.
        session: of `_make_client`.
    """

    def __init__(self, *, name: str, **session: Any) -> None:
        self._client, self._number = _make_client(name, _roster(session), **session)
        self._meter = Meter()

    def begin(self, **place: Any) -> dict[str, Any]:
        """Say which set-up and which sum come next. All work is held against what this process holds now.

        Args:
            place: `epoch`, `slot`, and `settings` as hex digits.
        """
        self._place = _place(**place)
        self._update = ClippedUpdate(_vector(self._number, self._place.settings))
        self._meter = Meter()
        return {}

    def step(self, *, stage: str, message: str | None, out: str) -> dict[str, Any]:
        """Do one stage.

        Args:
            stage: `accept`, or one of the stages.
            message: file with the aggregator's last answer, if there is one.
            out: file to write this client's message to.

        Returns:
            The cost, and the size of the message.
        """
        received = Path(message).read_bytes() if message else b""
        answer, cost = self._meter.run(
            lambda: _step(self._client, stage, received, place=self._place, update=self._update)
        )
        if answer is not None:
            Path(out).write_bytes(answer)
        return cost | {"bytes": len(answer or b"")}

    def open(self, *, message: str, contributors: list[int]) -> dict[str, Any]:
        """Open the sum, and compare it with the sum of clear encodings.

        What the client still holds of the upload counts as memory.
        """
        settings = self._place.settings
        received = [Path(message).read_bytes()]
        total, opening = self._meter.run(lambda: self._client.open(received.pop()))
        _, decoding = self._meter.run(lambda: decode(total, settings))
        expected, errors = np.zeros(settings.length, np.int64), np.zeros(settings.length)
        for number in contributors:
            values = _vector(number, settings)
            expected += np.rint(values * settings.steps_per_unit).astype(np.int64) + settings.steps
            errors += _error_between_grid_points(values, settings)
        exact = total.clients == len(contributors) and np.array_equal(total.values, expected)
        return together([opening, decoding]) | {
            "opening": opening,
            "decoding": decoding,
            "exact": bool(exact),
            "rounding_error_of_the_mean": float(np.abs(errors).max()) / len(contributors),
        }


@final
class Crowd:
    """The other clients, who are not measured.

    Args:
        names: their names on the roster.
        trusting: skip checks of others' signatures.
        session: of `_make_client`.
    """

    def __init__(self, *, names: list[str], trusting: bool, **session: Any) -> None:
        if trusting:
            _trust_everybody()
        roster = _roster(session)  # one for all, so that what is read once for all is found again
        self._clients = {name: _make_client(name, roster, **session) for name in names}

    def begin(self, **place: Any) -> dict[str, Any]:
        """As `Client.begin`."""
        self._place = _place(**place)
        return {}

    def step(
        self, *, stage: str, messages: dict[str, str], out: dict[str, str], silent: list[str]
    ) -> dict[str, int]:
        """Do one stage of every client but the silent ones; see `Client.step`. Returns the sizes."""
        sizes = {}
        for name, (client, number) in self._clients.items():
            if name in silent:
                continue
            received = Path(messages[name]).read_bytes() if name in messages else b""
            vector = _vector(number, self._place.settings) if stage == "upload" else np.zeros(0)
            update = ClippedUpdate(vector)
            answer = _step(client, stage, received, place=self._place, update=update)
            if answer is not None:
                Path(out[name]).write_bytes(answer)
                sizes[name] = len(answer)
        return sizes


def _roster(session: dict[str, Any]) -> Roster:
    return Roster.load(Path(session["folder"]) / "roster.json")


def _make_client(
    name: str, roster: Roster, *, folder: str, session_id: str, minimum: int, colluding: int, slots: int
) -> tuple[SumClient, int]:
    """A client, and its number.

    Args:
        name: its name on the roster.
        roster: the roster.
        folder: the folder with everybody's identity (`NAME.json`) and the roster (`roster.json`).
        session_id: hex digits.
        minimum: the quorum's.
        colluding: the quorum's.
        slots: how many sums a set-up prepares.
    """
    client = SumClient(
        identity=Identity.load(Path(folder) / f"{name}.json"),
        roster=roster,
        session_id=bytes.fromhex(session_id),
        policy_hash=bytes(32),
        quorum=Quorum(minimum=minimum, colluding=colluding),
        slots=slots,
    )
    return client, roster.client_ids.index(name)


def _step(
    client: SumClient, stage: str, message: bytes, *, place: _Place, update: ClippedUpdate
) -> bytes | None:
    match stage:
        case "advertise":
            return client.advertise(epoch=place.epoch)
        case "share":
            return client.share(message)
        case "agree":
            return client.agree(message)
        case "accept":
            client.accept(message)
            return None
        case "upload":
            return client.upload(
                update,
                settings=place.settings,
                slot=place.slot,
                stage="benchmark",
                round_number=place.slot,
                model_hash=bytes(32),
            )
        case "confirm":
            return client.confirm(message)
        case "unmask":
            return client.unmask(message)
    raise ValueError(stage)


def _vector(number: int, settings: SumSettings) -> np.ndarray:
    return example_vector(number, length=settings.length, value_bits=settings.value_bits)


@final
class Aggregator:
    """The blind party. Arguments as in `_make_client`."""

    def __init__(self, *, folder: str, session_id: str, minimum: int, colluding: int, slots: int) -> None:
        self._aggregator = SumAggregator(
            roster=Roster.load(Path(folder) / "roster.json"),
            session_id=bytes.fromhex(session_id),
            policy_hash=bytes(32),
            quorum=Quorum(minimum=minimum, colluding=colluding),
            slots=slots,
        )
        self._epoch = 0
        self._meter = Meter()

    def begin(self, *, epoch: int) -> dict[str, Any]:
        """Say which set-up, or a sum under which set-up, comes next."""
        if epoch != self._epoch:
            self._aggregator.begin_setup(epoch)
            self._epoch = epoch
        self._meter = Meter()
        return {}

    def handle(self, *, stage: str, messages: list[str], out: str) -> dict[str, Any]:
        """Take the messages one by one, and write the answers.

        Returns:
            The cost; the file of each client's answer; and the bytes of the largest answer.
        """
        costs = []
        for path in messages:
            message = Path(path).read_bytes()
            costs.append(self._meter.run(partial(self._aggregator.receive, message))[1])
            del message
        answers, cost = self._meter.run(lambda: self._aggregator.answer(stage))
        return together([*costs, cost]) | _write_answers(answers, Path(out))


def _trust_everybody() -> None:
    """Make the clients of this process check each thing once for all, or not at all."""
    PublicIdentity.verify = lambda *arguments: None  # type: ignore[method-assign]
    Statement.require_signatures = lambda *arguments: None  # type: ignore[method-assign]
    read = client_setup.read_advertisements  # type: ignore[attr-defined]
    client_setup.read_advertisements = functools.cache(read)  # type: ignore[attr-defined]


def _write_answers(answers: Mapping[str, bytes], folder: Path) -> dict[str, Any]:
    """Write answers, those that are one object for several clients once."""
    files: dict[int, str] = {}
    for name, answer in answers.items():
        if id(answer) not in files:
            files[id(answer)] = str(folder / f"answer to {name}")
            Path(files[id(answer)]).write_bytes(answer)
    return {
        "answers": {name: files[id(answer)] for name, answer in answers.items()},
        "bytes": max(len(answer) for answer in answers.values()),
    }


def _error_between_grid_points(values: np.ndarray, settings: SumSettings) -> np.ndarray:
    """What random rounding does to values that do not lie on the grid, in units of the values."""
    shift = np.random.default_rng(7).random(values.size) / settings.steps_per_unit
    moved = values + shift
    encoded = encode(ClippedUpdate(moved), settings, rounding=SystemRounding()).values
    rounded = (encoded.astype(np.int64) - settings.steps) / settings.steps_per_unit
    return np.asarray(rounded - np.clip(moved, -settings.value_limit, settings.value_limit))


if __name__ == "__main__":
    roles = {"client": Client, "crowd": Crowd, "aggregator": Aggregator}
    serve(roles[sys.argv[1]](**json.loads(sys.argv[2])))
