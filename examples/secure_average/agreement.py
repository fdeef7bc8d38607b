"""What all clients and the aggregator agree on: everybody runs the same copy of this file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fedstyle_secure.secure_aggregation import Quorum

VALUE_LIMIT = 4.0  # no weight may be larger than this
VALUE_BITS = 20  # so a weight is off by 4 / 2^19 at most
QUORUM = Quorum(minimum=3, colluding=1)  # no average of fewer than three, even if one helps the aggregator
POLICY_HASH = hashlib.sha256(Path(__file__).read_bytes()).digest()  # another copy is refused
