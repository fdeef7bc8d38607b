"""NVFlare's own secure aggregation (TenSEAL CKKS), driven through NVFlare's classes: the peer.

python tests/benchmarks/nvflare_peer.py ROLE SETTINGS is started by `secure_aggregation.py --peer nvflare`.

The path is that of NVFlare 2.9's FedAvgRecipeWithHE (`nvflare/app_opt/pt/recipes/fedavg_he.py`), with its
defaults throughout:

    provision   HEBuilder: degree 8192, primes of 60, 40 and 40 bits, scale 2^40, symmetric
    client      HEModelEncryptor(weigh_by_local_iter=True).process, then fobs.dumps
    aggregator  fobs.loads, HEInTimeAccumulateWeightedAggregator.accept for each client; aggregate,
                HEModelShareableGenerator in both directions, fobs.dumps
    opener      fobs.loads, HEModelDecryptor.process, which gives a list, and the list to an array

Left out, in NVFlare's favour: transport, TLS, audit files and saving the model. A vector is one tensor, for
which NVFlare sends its 0.66 MB context once; with more tensors it sends it with each.
"""

from __future__ import annotations

import json
import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
from measured_roles import Meter, error_of_mean, example_vector, serve, together
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_opt.he.intime_accumulate_model_aggregator import HEInTimeAccumulateWeightedAggregator
from nvflare.app_opt.he.model_decryptor import HEModelDecryptor
from nvflare.app_opt.he.model_encryptor import HEModelEncryptor
from nvflare.app_opt.he.model_shareable_generator import HEModelShareableGenerator
from nvflare.fuel.sec.security_content_service import SecurityContentService
from nvflare.fuel.utils import fobs
from nvflare.lighter.impl.he import HEBuilder

# All clients weigh the same, so that the result is the mean.
_LOCAL_STEPS = 100


@final
class Provision:
    """Makes the contexts of the server (public) and of the clients (all hold the same secret key)."""

    def __init__(self, *, folder: str) -> None:
        self._folder = Path(folder)

    def provision(self) -> dict[str, Any]:
        builder = HEBuilder()
        builder.initialize(None, None)
        (self._folder / "server_context.tenseal").write_bytes(builder.get_serialized_context())
        client_context = builder.get_serialized_context(is_client=True)
        (self._folder / "client_context.tenseal").write_bytes(client_context)
        return {}


@final
class Client:
    """Encrypts and serialises its model."""

    def __init__(self, *, folder: str) -> None:
        self._context = _context(folder)
        self._encryptor = HEModelEncryptor(weigh_by_local_iter=True)
        self._encryptor.handle_event(EventType.START_RUN, self._context)

    def upload(self, *, client: int, out: str, **vector: Any) -> dict[str, Any]:
        values = {"vector": example_vector(client, **vector)}
        meter = Meter()
        message, cost = meter.run(lambda: self._encrypt(values))
        Path(out).write_bytes(message)
        return cost | {"bytes": len(message)}

    def _encrypt(self, values: dict[str, np.ndarray]) -> bytes:
        meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: _LOCAL_STEPS}
        shareable = DXO(data_kind=DataKind.WEIGHTS, data=values, meta=meta).to_shareable()
        shareable.add_cookie(AppConstants.CONTRIBUTION_ROUND, 0)
        encrypted: bytes = fobs.dumps(self._encryptor.process(shareable, self._context))
        return encrypted


@final
class Aggregator:
    """Accumulates uploads one by one, as NVFlare does, and serialises the mean."""

    def __init__(self, *, folder: str) -> None:
        self._context = _context(folder)
        self._aggregator = HEInTimeAccumulateWeightedAggregator(
            expected_data_kind=DataKind.WEIGHTS, weigh_by_local_iter=False
        )
        self._generator = HEModelShareableGenerator()
        for part in (self._aggregator, self._generator):
            part.handle_event(EventType.START_RUN, self._context)

    def sum(self, *, uploads: list[str], out: str, length: int) -> dict[str, Any]:
        model = make_model_learnable({"vector": np.zeros(length, np.float32)}, {})
        self._context.set_prop(AppConstants.GLOBAL_MODEL, model, private=True, sticky=False)
        meter, costs = Meter(), []
        for number, path in enumerate(uploads):
            message = Path(path).read_bytes()
            shareable, read = meter.run(partial(fobs.loads, message))
            del message
            shareable.set_peer_props({ReservedKey.IDENTITY_NAME: f"site-{number}"})
            accepted, added = meter.run(partial(self._aggregator.accept, shareable, self._context))
            if not accepted:
                raise SystemExit("NVFlare's aggregator refuses a contribution")
            del shareable
            costs += [read, added]
        message, cost = meter.run(self._finish)
        Path(out).write_bytes(message)
        return together([*costs, cost]) | {"bytes": len(message)}

    def _finish(self) -> bytes:
        aggregated: Shareable = self._aggregator.aggregate(self._context)
        model = self._generator.shareable_to_learnable(aggregated, self._context)
        answer: bytes = fobs.dumps(self._generator.learnable_to_shareable(model, self._context))
        return answer


@final
class Opener:
    """Reads and decrypts the mean."""

    def __init__(self, *, folder: str) -> None:
        self._context = _context(folder)
        self._decryptor = HEModelDecryptor()
        self._decryptor.handle_event(EventType.START_RUN, self._context)

    def open(self, *, message: str, contributors: list[int], **vector: Any) -> dict[str, Any]:
        meter = Meter()
        received = [Path(message).read_bytes()]
        shareable, opening = meter.run(
            lambda: self._decryptor.process(fobs.loads(received.pop()), self._context)
        )
        data = from_shareable(shareable).data
        mean, decoding = meter.run(lambda: np.asarray(data["vector"]))
        return together([opening, decoding]) | {
            "opening": opening,
            "decoding": decoding,
            "max_error": error_of_mean(mean, contributors, **vector),
        }


def _context(folder: str) -> FLContext:
    SecurityContentService.initialize(content_folder=folder)
    context, peer = FLContext(), FLContext()
    # The contexts of this benchmark are not signed by a provisioner.
    context.set_prop(FLContextKey.SECURE_MODE, False, private=True, sticky=False)
    context.set_prop(AppConstants.CURRENT_ROUND, 0, private=True, sticky=False)
    peer.set_prop(ReservedKey.IDENTITY_NAME, "server", private=False, sticky=False)
    context.set_peer_context(peer)
    return context


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    roles = {"provision": Provision, "client": Client, "aggregator": Aggregator, "opener": Opener}
    serve(roles[sys.argv[1]](**json.loads(sys.argv[2])))
