"""How the cost of a secure sum grows: with the clients, and with the parameters.

Flows in: nothing. Flows out: tables (CSV) and plots (SVG) in a folder, with the limits in them.

The limits. *Entropy*: a vector of independent values that use their whole width cannot be sent in fewer than
`value_bits` bits a value, nor its sum in fewer than `value_bits` + log2(clients). *SEAL alone*: the time that
SEAL takes for the operations that no code around it can avoid: to encrypt each ciphertext, to expand and add
it, to decrypt it.

One client and the aggregator are measured and do everything. The other clients are real too, but take each
other's signatures on trust, so that a thousand of them fit into one process and some minutes.
"""

from __future__ import annotations

import csv
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import tenseal.sealapi as seal
from cost_report import as_roles
from line_chart import Series, line_chart
from secure_aggregation import secure_sum
from secure_sum_roles import sum_settings

from fedstyle_secure.secure_aggregation.frames import sum_bytes, upload_bytes
from fedstyle_secure.secure_aggregation.packing import Layout
from fedstyle_secure.secure_aggregation.parameters import COEFFICIENT_MODULUS, RING_DEGREE, ParameterSet

__all__ = ["grow"]

_VALUE_BITS: Final = 16
_CLIENTS: Final = (2, 8, 32, 128, 512, 1000)
_FEW_PARAMETERS: Final = 10_000
_PARAMETERS: Final = (10_000, 100_000, 1_000_000, 10_000_000)
_FEW_CLIENTS: Final = 8
_SLOTS: Final = 2
_MANY_CLIENTS: Final = 500
_REPEATS: Final = 50

Row = dict[str, float]
_Columns = list[tuple[str, Callable[[Row], str]]]


def grow(folder: Path) -> None:
    """Measure both ways of growing, and write `secure-aggregation-*.csv` and `.svg` into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    by_clients = [_measure(clients, _FEW_PARAMETERS) for clients in _CLIENTS]
    by_parameters = [_measure(_FEW_CLIENTS, parameters) for parameters in _PARAMETERS]
    _write_tables(folder, "clients", by_clients)
    _write_tables(folder, "parameters", by_parameters)
    plots = {
        "bytes": _bytes_plot(),
        "by-clients": _clients_plot(by_clients),
        "by-parameters": _parameters_plot(by_parameters),
    }
    for name, plot in plots.items():
        (folder / f"secure-aggregation-{name}.svg").write_text(plot, encoding="utf-8")


def _measure(clients: int, parameters: int) -> Row:
    print(f"{clients} clients, {parameters} parameters", file=sys.stderr)
    # A tenth of the clients may help the aggregator: that decides how many neighbours a client has.
    colluding = clients // 10
    cost = secure_sum(
        length=parameters,
        clients=clients,
        value_bits=_VALUE_BITS,
        minimum=colluding + 2,
        colluding=colluding,
        slots=_SLOTS,
        warm_setup=clients < _MANY_CLIENTS,
        trusting_crowd=True,
    )
    if not cost["open"]["exact"]:
        raise SystemExit(f"the sum of {clients} clients and {parameters} parameters is wrong")
    roles, setup = as_roles(cost), cost["setup"].values()
    return {
        "clients": clients,
        "parameters": parameters,
        "bytes_up": roles["bytes_up"],
        "bytes_down": roles["bytes_down"],
        "client": roles["client"]["seconds"],
        "aggregator": roles["aggregator"]["seconds"],
        "open": roles["open"]["seconds"],
        "client_memory": roles["client"]["memory_mib"],
        "aggregator_memory": roles["aggregator"]["memory_mib"],
        "setup_bytes_up": sum(stage["bytes_up"] for stage in setup),
        "setup_bytes_down": sum(stage["bytes_down"] for stage in setup),
        "setup_client": sum(stage["client"]["seconds"] for stage in setup),
        **_seal_alone(clients, parameters),
    }


def _seal_alone(clients: int, parameters: int) -> Row:
    """Seconds that SEAL's own operations take for one sum."""
    layout = Layout.of(sum_settings(length=parameters, value_bits=_VALUE_BITS, clients=clients))
    encrypt, expand, add, decrypt = _operations(layout.parameters)
    return {
        "seal_client": layout.ciphertexts * encrypt,
        "seal_aggregator": layout.ciphertexts * clients * (expand + add),
        "seal_open": layout.ciphertexts * decrypt,
    }


def _operations(parameters: ParameterSet) -> tuple[float, float, float, float]:
    """Seconds of one encryption, expansion (as SEAL reads a seeded ciphertext), addition and decryption."""
    choice = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
    choice.set_poly_modulus_degree(RING_DEGREE)
    choice.set_coeff_modulus([seal.Modulus(COEFFICIENT_MODULUS)])
    choice.set_plain_modulus(1 << parameters.plain_bits)
    context = seal.SEALContext(choice, False, seal.SEC_LEVEL_TYPE.TC128)
    key, evaluator = seal.KeyGenerator(context).secret_key(), seal.Evaluator(context)
    encryptor, decryptor = seal.Encryptor(context, key), seal.Decryptor(context, key)
    words = np.random.default_rng(0).integers(2**parameters.plain_bits, size=RING_DEGREE, dtype=np.uint64)
    terms = (f"{word:X}x^{power}" for power, word in reversed(list(enumerate(words.tolist()))) if power)
    plain, ciphertext, opened = seal.Plaintext(" + ".join(terms)), seal.Ciphertext(), seal.Plaintext()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/ciphertext"
        encryptor.encrypt_symmetric(plain).save(path)
        expand = _median_seconds(lambda: ciphertext.load(context, path))
    return (
        _median_seconds(lambda: encryptor.encrypt_symmetric(plain)),
        expand,
        _median_seconds(lambda: evaluator.add_inplace(ciphertext, ciphertext)),
        _median_seconds(lambda: decryptor.decrypt(ciphertext, opened)),
    )


def _median_seconds(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _write_tables(folder: Path, over: str, rows: Sequence[Row]) -> None:
    """One table of sizes and one of times."""
    sizes: _Columns = [
        (over, lambda row: f"{row[over]:,}"),
        ("bytes a parameter up", lambda row: f"{row['bytes_up'] / row['parameters']:.2f}"),
        ("entropy", lambda row: f"{_VALUE_BITS / 8:.2f}"),
        ("bytes a parameter down", lambda row: f"{row['bytes_down'] / row['parameters']:.2f}"),
        ("entropy", lambda row: f"{_entropy_down(row['clients'], _VALUE_BITS):.2f}"),
        (f"set-up of {_SLOTS} slots, kB up", lambda row: f"{row['setup_bytes_up'] / 1000:.1f}"),
        ("kB down", lambda row: f"{row['setup_bytes_down'] / 1000:.1f}"),
        ("memory of a client, MiB", lambda row: f"{row['client_memory']:.0f}"),
        ("of the aggregator, MiB", lambda row: f"{row['aggregator_memory']:.0f}"),
    ]
    times: _Columns = [
        (over, lambda row: f"{row[over]:,}"),
        ("client, ms", lambda row: _milliseconds(row["client"])),
        ("SEAL alone", lambda row: _milliseconds(row["seal_client"])),
        ("aggregator, all clients, ms", lambda row: _milliseconds(row["aggregator"])),
        ("SEAL alone", lambda row: _milliseconds(row["seal_aggregator"])),
        ("open, ms", lambda row: _milliseconds(row["open"])),
        ("SEAL alone", lambda row: _milliseconds(row["seal_open"])),
        (f"set-up of {_SLOTS} slots, client, ms", lambda row: _milliseconds(row["setup_client"])),
    ]
    for kind, columns in (("sizes", sizes), ("times", times)):
        path = folder / f"secure-aggregation-by-{over}-{kind}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([title for title, _ in columns])
            writer.writerows([text(row) for _, text in columns] for row in rows)


def _bytes_plot() -> str:
    """Bytes of the vectors alone, which the public settings decide."""
    length, clients = 10_000_000, range(2, 1025)
    series = []
    for number, bits in enumerate((16, 12)):
        settings = {n: sum_settings(length=length, value_bits=bits, clients=n) for n in clients}
        up = [(n, upload_bytes(settings[n]) / length) for n in clients]
        down = [(n, sum_bytes(settings[n], clients=n) / length) for n in clients]
        entropy_down = [(2**power, _entropy_down(2**power, bits)) for power in range(1, 11)]
        series += [
            Series(f"down, {bits} bits", _corners(down), colour=2 * number),
            Series(f"entropy of the sum, {bits} bits", entropy_down, colour=2 * number, limit=True),
            Series(f"up, {bits} bits", _corners(up), colour=2 * number + 1),
            Series(
                f"entropy of values, {bits} bits",
                [(n, bits / 8) for n in (2, 1024)],
                colour=2 * number + 1,
                limit=True,
            ),
        ]
    series.append(Series("float32 in the clear", [(n, 4.0) for n in (2, 1024)], colour=4, limit=True))
    return line_chart(
        "Bytes a parameter, long vectors", series, x_label="clients on the roster", y_label="bytes"
    )


def _corners(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The points of a staircase that matter to a line through it."""
    inner = zip(points, points[1:], points[2:], strict=False)
    return [points[0], *(b for a, b, c in inner if not a[1] == b[1] == c[1]), points[-1]]


def _clients_plot(rows: Sequence[Row]) -> str:
    setup = [(row["clients"], row["setup_client"]) for row in rows]
    return line_chart(
        f"Seconds of one sum, {_FEW_PARAMETERS:,} parameters of {_VALUE_BITS} bits",
        [
            *_times(rows, "clients"),
            Series(f"set-up of {_SLOTS} slots, a client", setup, colour=3, dots=True),
        ],
        x_label="clients on the roster, all of them there",
        y_label="seconds",
    )


def _parameters_plot(rows: Sequence[Row]) -> str:
    return line_chart(
        f"Seconds of one sum, {_FEW_CLIENTS} clients, {_VALUE_BITS} bits",
        _times(rows, "parameters"),
        x_label="parameters",
        y_label="seconds",
    )


def _times(rows: Sequence[Row], over: str) -> list[Series]:
    series = []
    for colour, role in enumerate(("aggregator", "client", "open")):
        measured = [(row[over], row[role]) for row in rows]
        limit = [(row[over], row[f"seal_{role}"]) for row in rows]
        series += [
            Series(role, measured, colour=colour, dots=True),
            Series(f"{role}: SEAL alone", limit, colour=colour, limit=True),
        ]
    return series


def _entropy_down(clients: float, value_bits: int) -> float:
    """Bytes of the sum of that many values that use their whole width."""
    return (value_bits + math.log2(clients)) / 8


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.1f}" if seconds < 1 else f"{1000 * seconds:,.0f}"
