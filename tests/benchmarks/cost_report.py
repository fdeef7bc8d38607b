"""From raw measurements of rounds to the numbers and the table that are printed.

Flows in: what `secure_aggregation.py` measured. Flows out: medians over rounds, ratios, text.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from secure_sum_roles import SUM_STAGES

__all__ = ["ROLES", "as_roles", "summary", "table"]

ROLES: Final = ("client", "aggregator", "open")

Cost = dict[str, Any]


def summary(rounds: Sequence[Cost], *, options: Cost) -> Cost:
    """What is printed.

    Args:
        rounds: for each round `ours` (see `secure_sum`), `plain` and perhaps `peer`.
        options: the options of the command.
    """
    length, parties = options["params"], list(rounds[0])
    per_round = [{party: as_roles(measured[party]) for party in parties} for measured in rounds]

    def middle(party: str, pick: Callable[[Cost], float]) -> float:
        return float(statistics.median(pick(measured[party]) for measured in per_round))

    medians: dict[str, Cost] = {
        party: {
            "bytes_up": middle(party, lambda cost: cost["bytes_up"]),
            "bytes_down": middle(party, lambda cost: cost["bytes_down"]),
            **{
                what: {role: middle(party, lambda cost, r=role, w=what: cost[r][w]) for role in ROLES}  # type: ignore[misc]
                for what in ("seconds", "cpu_seconds", "memory_mib")
            },
        }
        for party in parties
    }
    opened = [measured["ours"]["open"] for measured in rounds]
    errors = {party: rounds[0][party]["open"]["max_error"] for party in parties if party != "ours"}
    result = {
        "parameters": length,
        "clients": options["clients"],
        "dropped": options["drop"],
        "value_bits": options["value_bits"],
        "rounds": len(rounds),
        "exact": all(one["exact"] for one in opened),
        "max_error_of_the_mean": {"ours": opened[0]["rounding_error_of_the_mean"], **errors},
        "bytes_per_parameter": {
            "up": medians["ours"]["bytes_up"] / length,
            "down": medians["ours"]["bytes_down"] / length,
        },
    }
    if "peer" in medians:
        result |= {
            "peer": options["peer"],
            "ratios": _ratios(medians["peer"], medians["ours"], "seconds"),
            "ratios_of_cpu_time": {
                role: _ratio(medians["peer"]["cpu_seconds"][role], medians["ours"]["cpu_seconds"][role])
                for role in ROLES
            },
        }
    protocol = _protocol([measured["ours"] for measured in rounds], slots=options["slots"])
    protocol["plain_seconds"] = sum(medians["plain"]["seconds"].values())
    return result | {
        "protocol": protocol,
        "medians": medians,
        "versions": _versions(),
        "machine": {"cpus": os.cpu_count(), "cpu": _cpu_model(), "load": os.getloadavg()[0]},
        "raw": list(rounds),
    }


def table(result: Cost) -> str:
    """The result for people."""
    parties = list(result["medians"])
    titles = {"ours": "this package", "plain": "float32, clear", "peer": str(result.get("peer"))}
    head = ["", *(titles[party] for party in parties), *(["peer / ours"] if "ratios" in result else [])]
    rows = [head]
    per_parameter = result["parameters"]

    def row(title: str, ratio: str, pick: Callable[[Cost], float]) -> None:
        ratios = [f"{result['ratios'][ratio]:.1f}"] if "ratios" in result else []
        rows.append([title, *(f"{pick(result['medians'][party]):.3f}" for party in parties), *ratios])

    row("bytes a parameter, up", "bytes_up", lambda cost: cost["bytes_up"] / per_parameter)
    row("bytes a parameter, down", "bytes_down", lambda cost: cost["bytes_down"] / per_parameter)
    for role in ROLES:
        row(f"{role}: seconds", role, lambda cost, r=role: cost["seconds"][r])  # type: ignore[misc]
    for role in ROLES:
        row(f"{role}: memory, MiB", f"{role}_memory", lambda cost, r=role: cost["memory_mib"][r])  # type: ignore[misc]
    dropped = f", {result['dropped']} of them silent" if result["dropped"] else ""
    errors = (f"{titles[party]} {error:.1e}" for party, error in result["max_error_of_the_mean"].items())
    protocol = result["protocol"]
    return "\n".join(
        [
            f"{result['parameters']:,} parameters of {result['value_bits']} bits, {result['clients']} clients"
            f"{dropped}; medians of {result['rounds']} rounds",
            "",
            *_aligned(rows),
            "",
            f"exact: {'yes' if result['exact'] else 'NO'}; largest error of the mean: {', '.join(errors)}",
            "",
            *_aligned(_stage_rows(protocol["stages"])),
            "",
            f"One sum, with its part of a set-up for {protocol['slots']}: {protocol['seconds']:.3f} s and "
            f"{protocol['bytes']:,.0f} bytes a client; in the clear: {protocol['plain_seconds']:.3f} s.",
            ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        ]
    )


def _stage_rows(stages: Cost) -> list[list[str]]:
    head = ["stage", "client, s", "aggregator, s", "bytes up", "bytes down"]
    rows = [
        [
            name,
            *(f"{cost[role]:.4f}" for role in ("client_seconds", "aggregator_seconds")),
            *(f"{cost[way]:,}" for way in ("bytes_up", "bytes_down")),
        ]
        for name, cost in stages.items()
    ]
    return [head, *rows]


def as_roles(party: Cost) -> Cost:
    """Our stages, put together to what the other parties' roles are."""
    if "stages" not in party:
        client, aggregator = party["client"], party["aggregator"]
        return {**party, "bytes_up": client["bytes"], "bytes_down": aggregator["bytes"]}
    stages = [party["stages"][stage] for stage in SUM_STAGES]
    roles = {
        role: {
            "seconds": sum(stage[role]["seconds"] for stage in stages),
            "cpu_seconds": sum(stage[role]["cpu_seconds"] for stage in stages),
            "memory_mib": max(stage[role]["memory_mib"] for stage in stages),
        }
        for role in ("client", "aggregator")
    }
    sizes = {way: sum(stage[way] for stage in stages) for way in ("bytes_up", "bytes_down")}
    return {**roles, "open": party["open"], **sizes}


def _ratios(peer: Cost, ours: Cost, time: str) -> Cost:
    ratios = {way: _ratio(peer[way], ours[way]) for way in ("bytes_up", "bytes_down")}
    ratios |= {role: _ratio(peer[time][role], ours[time][role]) for role in ROLES}
    return ratios | {
        f"{role}_memory": _ratio(peer["memory_mib"][role], ours["memory_mib"][role]) for role in ROLES
    }


def _ratio(peer: float, ours: float) -> float:
    # A peak below one page cannot be measured.
    return round(peer / max(ours, 2**-8), 2)


def _protocol(ours: Sequence[Cost], *, slots: int) -> Cost:
    """Every stage of one sum. The clients work at the same time, so a sum takes one client's time and the
    aggregator's, and its part of the set-up."""
    stages = {stage: _stage([one["setup"][stage] for one in ours]) for stage in ours[0]["setup"]}
    # What the first sum of a set-up takes although it holds one value only: keys and contexts.
    first_use = [list(one["first_use"].values()) for one in ours]
    stages["first use"] = _stage(
        [
            {
                role: {"seconds": sum(stage[role]["seconds"] for stage in one)}
                for role in ("client", "aggregator")
            }
            for one in first_use
        ]
    )
    once = set(stages)
    stages |= {stage: _stage([one["stages"][stage] for one in ours]) for stage in ours[0]["stages"]}
    stages["open"] = _stage([{"client": one["open"]} for one in ours])
    shares = {name: 1 / slots if name in once else 1.0 for name in stages}
    return {
        "stages": stages,
        "slots": slots,
        "seconds": sum(
            share * (stages[name]["client_seconds"] + stages[name]["aggregator_seconds"])
            for name, share in shares.items()
        ),
        "bytes": sum(
            share * (stages[name]["bytes_up"] + stages[name]["bytes_down"]) for name, share in shares.items()
        ),
    }


def _stage(measured: Sequence[Cost]) -> Cost:
    """One stage over all rounds."""
    seconds = {
        f"{role}_seconds": float(statistics.median(one.get(role, {}).get("seconds", 0.0) for one in measured))
        for role in ("client", "aggregator")
    }
    return seconds | {way: measured[0].get(way, 0) for way in ("bytes_up", "bytes_down")}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("fedstyle-secure", "tenseal", "numpy", "cryptography", "nvflare"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
