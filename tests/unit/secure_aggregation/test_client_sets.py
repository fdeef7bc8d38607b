from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.client_sets import (
    client_set_bytes,
    read_clients,
    require_threshold,
    write_clients,
)
from fedstyle_secure.secure_aggregation.framing import Reader
from tests.secure_sums import make_world

NAMES = ("ana", "ben", "cem", "dia", "eli", "fay")
SESSION = make_world(NAMES).session
LARGE = make_world([f"c{place:02}" for place in range(20)]).session


@pytest.mark.parametrize(
    ("names", "written"),
    [((), b"\x00"), (("ana",), b"\x01"), (("fay", "ben"), b"\x22"), (NAMES, b"\x3f")],
)
def test_a_set_of_clients_is_a_bit_for_each_of_the_roster(names, written: bytes) -> None:
    assert write_clients(SESSION, names) == written
    assert set(read_clients(Reader(written), SESSION)) == set(names)


@given(places=st.sets(st.integers(0, 19)))
def test_every_set_of_clients_comes_back_in_roster_order(places: set[int]) -> None:
    names = tuple(f"c{place:02}" for place in sorted(places))
    written = write_clients(LARGE, frozenset(names))
    assert len(written) == client_set_bytes(LARGE) == 3
    assert read_clients(Reader(written), LARGE) == names


@pytest.mark.parametrize("written", [b"\x40", b"\x80", b"\xff"])
def test_a_client_past_the_end_of_the_roster_is_refused(written: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_clients(Reader(written), SESSION)
    assert caught.value.code is ErrorCode.MESSAGE_MALFORMED
    assert "more than the roster holds" in caught.value.message


def test_enough_is_enough_and_everybody_missing_is_named() -> None:
    require_threshold(SESSION, {"ana", "fay", "ben", "dia"}, "stage share")
    with pytest.raises(ProtocolError) as caught:
        require_threshold(SESSION, ["dia", "fay", "ana"], "stage share")
    assert caught.value.code is ErrorCode.COHORT_INCOMPLETE
    assert (
        caught.value.message == "3 clients took part in stage share, and 4 are needed; ben, cem, eli did not"
    )


def test_a_long_list_of_missing_clients_is_cut() -> None:
    with pytest.raises(ProtocolError) as caught:
        require_threshold(LARGE, (), "stage share")
    assert caught.value.message.endswith("c00, c01, c02, c03, c04, c05, c06, c07 and 12 more did not")
