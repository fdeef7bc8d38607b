"""What a secure sum costs: this package, beside NVFlare's own classes and beside float32 in the clear.

    python tests/benchmarks/secure_aggregation.py --params 1000000 --clients 8 [--peer nvflare] [--json]
    python tests/benchmarks/secure_aggregation.py --grow FOLDER

Everybody sums the same float32 vectors. Each role works in a process of its own, one after the other; the
parties take turns round by round, and the printed numbers are medians over rounds. Everybody has summed a
single value before, so that contexts are loaded. Times are wall time, and leave out the network and the disk.
Memory is a role's peak minus what its process held before the sum, its vector included. `ratios` are the
peer over this package.

    client       everything that a client does and sends for one sum, but for opening it
    aggregator   everything that the aggregator does for one sum, all clients together
    open         from the received bytes to an array of floats
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import secrets
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cost_report import summary, table
from measured_roles import RoleProcess
from secure_sum_roles import SETUP_STAGES, SUM_STAGES, sum_settings

from fedstyle_secure.errors import SetupError
from fedstyle_secure.secure_aggregation import Identity, Quorum, Roster, SumSettings
from fedstyle_secure.secure_aggregation.wire import DEFAULT_SLOTS

HERE: Final = Path(__file__).resolve().parent
# The peer's uploads weigh 58 bytes a parameter: these few are made, and handed in under all names.
_PEER_UPLOADS: Final = 2

Cost = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether the sums were exact."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.grow is not None:
        from growth import grow

        grow(Path(options.grow))
        return 0
    if options.peer and importlib.util.find_spec("nvflare") is None:
        raise SystemExit("--peer nvflare compares with NVFlare, which is not installed: pip install nvflare")
    try:
        quorum = Quorum(minimum=options.colluding + 2, colluding=options.colluding)
        enough = quorum.threshold(options.clients) <= options.clients - options.drop
    except SetupError:
        enough = False
    if not enough:
        parser.error("too few clients would be left: lower --drop or --colluding, or raise --clients")
    rounds = []
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        rounds.append(_one_round(options))
    result = summary(rounds, options=vars(options))
    print(json.dumps(result, indent=2) if options.json else table(result))
    return 0 if result["exact"] else 1


def secure_sum(
    *,
    length: int,
    clients: int,
    value_bits: int,
    minimum: int = 2,
    colluding: int = 0,
    slots: int = DEFAULT_SLOTS,
    dropped: int = 0,
    warm_setup: bool = True,
    trusting_crowd: bool = False,
) -> Cost:
    """Set up a session and make one sum, with the first client and the aggregator measured.

    Args:
        length: number of values.
        clients: size of the roster.
        value_bits: bits of a value.
        minimum: the least number of clients in a sum.
        colluding: how many clients may help the aggregator.
        slots: how many sums the set-up prepares, two or more.
        dropped: how many clients fall silent after the set-up.
        warm_setup: whether to make another set-up first, as there is a sum of one value before the sum
            that counts, so that everybody's contexts are ready.
        trusting_crowd: whether the clients that are not measured skip checks of signatures.

    Returns:
        `setup` and `stages`: for each stage the costs of client and aggregator and the bytes up and down;
        `first_use`: the same for the first sum of one value; `open`: the cost of opening, and `exact`.
    """
    names = [f"client-{place}" for place in range(clients)]
    with tempfile.TemporaryDirectory(prefix="secure-sum-") as made:
        folder = Path(made)
        identities = [Identity.generate(name) for name in names]
        for identity in identities:
            identity.save(folder / f"{identity.client_id}.json")
        Roster([identity.public for identity in identities]).save(folder / "roster.json")
        session = {
            "folder": made,
            "session_id": secrets.token_hex(16),
            "minimum": minimum,
            "colluding": colluding,
            "slots": slots,
        }
        script = HERE / "secure_sum_roles.py"
        with (
            RoleProcess(script, "client", name=names[0], **session) as client,
            RoleProcess(script, "crowd", names=names[1:], trusting=trusting_crowd, **session) as crowd,
            RoleProcess(script, "aggregator", **session) as aggregator,
        ):
            parties = _Parties(client, crowd, aggregator, names, silent=names[clients - dropped :])
            size = {"value_bits": value_bits, "clients": clients}
            tiny, whole = sum_settings(length=1, **size), sum_settings(length=length, **size)
            if warm_setup:
                parties.set_up(epoch=0, folder=folder / "first set-up")
            setup = parties.set_up(epoch=1, folder=folder / "set-up")
            first_use = parties.sum(epoch=1, slot=0, settings=tiny, folder=folder / "first sum")["stages"]
            made_sum = parties.sum(epoch=1, slot=1, settings=whole, folder=folder / "sum")
            return {"setup": setup, "first_use": first_use, **made_sum}


@dataclass(frozen=True)
class _Parties:
    """Everybody's processes, and the way of messages between them."""

    client: RoleProcess
    crowd: RoleProcess
    aggregator: RoleProcess
    names: Sequence[str]
    silent: Sequence[str]

    def set_up(self, *, epoch: int, folder: Path) -> Cost:
        """Make a set-up; what each stage has cost."""
        self._begin(epoch=epoch, slot=0, settings=sum_settings(length=1, value_bits=8, clients=2))
        costs, answers = self._exchange(SETUP_STAGES, folder=folder, silent=())
        costs["accept"], _ = self._step("accept", answers, folder=folder, silent=())
        return costs

    def sum(self, *, epoch: int, slot: int, settings: SumSettings, folder: Path) -> Cost:
        """Make a sum, without the silent ones; what each stage has cost, and how it was opened."""
        self._begin(epoch=epoch, slot=slot, settings=settings)
        costs, answers = self._exchange(SUM_STAGES, folder=folder, silent=self.silent)
        there = list(range(len(self.names) - len(self.silent)))
        opened = self.client.do("open", message=answers[self.names[0]], contributors=there)
        return {"stages": costs, "open": opened}

    def _begin(self, *, epoch: int, slot: int, settings: SumSettings) -> None:
        for clients in (self.client, self.crowd):
            clients.do("begin", epoch=epoch, slot=slot, settings=settings.to_bytes().hex())
        self.aggregator.do("begin", epoch=epoch)

    def _exchange(
        self, stages: Sequence[str], *, folder: Path, silent: Sequence[str]
    ) -> tuple[Cost, dict[str, str]]:
        """Go through stages: what each has cost, and the files of the last answers."""
        answers: dict[str, str] = {}
        costs: Cost = {}
        for stage in stages:
            costs[stage], sent = self._step(stage, answers, folder=folder, silent=silent)
            handled = self.aggregator.do("handle", stage=stage, messages=sent, out=str(folder / stage))
            answers = handled.pop("answers")
            costs[stage] |= {"bytes_down": handled.pop("bytes"), "aggregator": handled}
            for message in sent:
                Path(message).unlink()
        return costs, answers

    def _step(
        self, stage: str, answers: dict[str, str], *, folder: Path, silent: Sequence[str]
    ) -> tuple[Cost, list[str]]:
        """One stage of all clients: its cost, and the files of their messages."""
        (folder / stage).mkdir(parents=True)
        files = {name: str(folder / stage / name) for name in self.names}
        first = self.names[0]
        cost = self.client.do("step", stage=stage, message=answers.get(first), out=files[first])
        sizes = self.crowd.do("step", stage=stage, messages=answers, out=files, silent=silent)
        sizes[first] = cost.pop("bytes")
        sent = [files[name] for name in self.names if sizes.get(name)]
        return {"client": cost, "bytes_up": max(sizes.values()), "bytes_down": 0}, sent


def _one_round(options: argparse.Namespace) -> Cost:
    size = {"length": options.params, "value_bits": options.value_bits}
    measured = {
        "ours": secure_sum(
            **size,
            clients=options.clients,
            minimum=options.colluding + 2,
            colluding=options.colluding,
            slots=options.slots,
            dropped=options.drop,
        ),
        "plain": _other_sum(HERE / "plain_sum.py", options, distinct_uploads=options.clients),
    }
    if options.peer:
        measured["peer"] = _other_sum(HERE / "nvflare_peer.py", options, distinct_uploads=_PEER_UPLOADS)
    return measured


def _other_sum(script: Path, options: argparse.Namespace, *, distinct_uploads: int) -> Cost:
    """One sum of `plain_sum.py` or a peer."""
    vector = {"length": options.params, "value_bits": options.value_bits}
    warm = vector | {"length": 1}
    contributors = [place % distinct_uploads for place in range(options.clients - options.drop)]
    with tempfile.TemporaryDirectory(prefix=script.stem) as folder:
        with RoleProcess(script, "provision", folder=folder) as role:
            role.do("provision")
        uploads = {place: f"{folder}/up-{place}" for place in sorted(set(contributors))}
        costs = []
        for place, path in uploads.items():
            with RoleProcess(script, "client", folder=folder) as role:
                role.do("upload", client=0, out=f"{folder}/up-warm", **warm)
                costs.append(role.do("upload", client=place, out=path, **vector))
            # Only the first is measured, as in our own sum; the others are there to be added.
        with RoleProcess(script, "aggregator", folder=folder) as role:
            role.do("sum", uploads=[f"{folder}/up-warm"], out=f"{folder}/down-warm", length=1)
            paths = [uploads[place] for place in contributors]
            aggregator = role.do("sum", uploads=paths, out=f"{folder}/down", length=options.params)
        with RoleProcess(script, "opener", folder=folder) as role:
            role.do("open", message=f"{folder}/down-warm", contributors=[0], **warm)
            opener = role.do("open", message=f"{folder}/down", contributors=contributors, **vector)
    return {"client": costs[0], "aggregator": aggregator, "open": opener}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--params", type=_between(1, 2**26), default=1_000_000, help="values in a vector")
    parser.add_argument("--clients", type=_between(2, 1024), default=8, help="clients on the roster")
    parser.add_argument("--value-bits", type=_between(8, 24), default=16, help="bits of a value")
    parser.add_argument("--rounds", type=_between(1, 1000), default=3, help="rounds to take medians over")
    parser.add_argument("--slots", type=_between(2, 1024), default=DEFAULT_SLOTS, help="sums of one set-up")
    parser.add_argument(
        "--colluding", type=_between(0, 1022), default=0, help="clients that may help the aggregator"
    )
    parser.add_argument("--drop", type=_between(0, 1022), default=0, help="clients that never upload")
    parser.add_argument("--peer", choices=["nvflare"], help="whom to compare with")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    parser.add_argument(
        "--grow", metavar="FOLDER", help="measure how costs grow instead, and write tables and a plot"
    )
    return parser


def _between(low: int, high: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is outside {low} to {high}")
        return value

    return integer


if __name__ == "__main__":
    sys.exit(main())
