"""A client of a secure average.

    python client.py IDENTITY ROSTER PORT MODEL OUT

Sends the weights in MODEL masked and encrypted, and writes the mean of everybody's weights to OUT. Both are
safetensors files of a `state_dict`. What is no float (counters, indices) is not averaged and stays as it is.
"""

from __future__ import annotations

import hashlib
import sys
import time
from multiprocessing.connection import Client, Connection
from pathlib import Path

import torch
from agreement import POLICY_HASH, QUORUM, VALUE_BITS, VALUE_LIMIT
from safetensors.torch import load_file, save_file

from fedstyle_secure.secure_aggregation import (
    ClippedUpdate,
    Identity,
    Roster,
    SumClient,
    SumSettings,
    decode,
)


def secure_mean(
    vector: torch.Tensor, model_hash: bytes, identity: Identity, roster: Roster, aggregator: Connection
) -> torch.Tensor:
    """Everybody's mean of `vector`, through an aggregator that sees nothing."""

    def ask(message: bytes) -> bytes:
        aggregator.send_bytes(message)
        return aggregator.recv_bytes()

    session_id = aggregator.recv_bytes(64)
    settings = SumSettings(
        length=len(vector), value_bits=VALUE_BITS, value_limit=VALUE_LIMIT, cohort_cap=len(roster)
    )
    client = SumClient(
        identity=identity,
        roster=roster,
        session_id=session_id,
        policy_hash=POLICY_HASH,
        quorum=QUORUM,
        slots=1,
    )
    client.accept(ask(client.agree(ask(client.share(ask(client.advertise()))))))
    upload = client.upload(
        ClippedUpdate(vector.numpy()),
        settings=settings,
        slot=0,
        stage="average",
        round_number=0,
        model_hash=model_hash,
    )
    total = client.open(ask(client.unmask(ask(client.confirm(ask(upload))))))
    return torch.from_numpy(decode(total, settings) / total.clients)


def main(identity: str, roster: str, port: str, model: str, out: str) -> None:
    """Take a `state_dict` apart into one vector, have it averaged, and put it together again."""
    state = load_file(model)
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    vector = torch.cat([tensor.flatten().float() for tensor in floats.values()])
    if vector.abs().max() > VALUE_LIMIT:
        raise SystemExit(f"{model} holds a weight beyond {VALUE_LIMIT}, and would be clamped")
    model_hash = hashlib.sha256(repr([(n, tuple(t.shape)) for n, t in floats.items()]).encode()).digest()
    with connect(int(port)) as aggregator:
        mean = secure_mean(
            vector, model_hash, Identity.load(Path(identity)), Roster.load(Path(roster)), aggregator
        )
    for tensor, piece in zip(floats.values(), mean.split([t.numel() for t in floats.values()]), strict=True):
        tensor.copy_(piece.view_as(tensor))
    save_file(state, out)


def connect(port: int, patience_s: float = 30.0) -> Connection:
    """Reach the aggregator, which may need a moment to start."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return Client(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
