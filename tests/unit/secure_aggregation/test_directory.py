from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import combinations

from fedstyle_secure.secure_aggregation.directory import (
    GROUP_SEED_BYTES,
    Advertised,
    Directory,
    sharing_plan,
)
from fedstyle_secure.secure_aggregation.neighbours import SharingPlan
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.slot_secrets import SHARES_BYTES_PER_SLOT
from fedstyle_secure.secure_aggregation.wire import MessageKind, Session
from tests.secure_sums import make_world

NAMES = ("ana", "ben", "cem", "dia", "eli", "fay")
SLOTS = 3
SESSION = make_world(NAMES, quorum=Quorum(minimum=4, colluding=1), slots=SLOTS).session

# Who chose whom: nobody chose fay, and ana and dia chose each other.
CHOSEN = {
    "ana": {"ben", "dia"},
    "ben": {"cem", "dia"},
    "cem": {"ana", "eli"},
    "dia": {"ana", "ben"},
    "eli": {"ben", "cem"},
    "fay": {"cem", "dia"},
}


def public_key(*parts: str) -> bytes:
    return hashlib.sha256("/".join(parts).encode()).digest()


def advertised(name: str, neighbours) -> Advertised:
    mask_keys = b"".join(public_key(name, str(slot)) for slot in range(SLOTS))
    return Advertised(public_key(name), mask_keys, frozenset(neighbours))


def complete(present=NAMES, *, session: Session = SESSION) -> Directory:
    entries = {name: advertised(name, set(session.roster) - {name}) for name in present}
    return Directory(session, 0, sharing_plan(session), entries)


def sparse(present=NAMES) -> Directory:
    plan = SharingPlan(clients=6, out_degree=2, threshold=2, smallest_group=2)
    return Directory(SESSION, 0, plan, {name: advertised(name, CHOSEN[name]) for name in present})


def test_each_slot_has_its_mask_key() -> None:
    entry = advertised("ana", {"ben"})
    assert [entry.mask_key(slot) for slot in range(SLOTS)] == [
        public_key("ana", str(slot)) for slot in range(SLOTS)
    ]


def test_among_any_clients_who_are_enough_there_is_a_key_maker_and_no_fewer_makers_give_that() -> None:
    for present in (NAMES, NAMES[1:], NAMES[2:]):
        directory = complete(present)
        makers = set(directory.makers)
        assert directory.makers == present[: len(makers)]
        assert all(makers & set(enough) for enough in combinations(present, SESSION.threshold))
        fewer = makers - {directory.makers[-1]}
        assert any(not fewer & set(enough) for enough in combinations(present, SESSION.threshold))


def test_in_a_complete_graph_everybody_holds_and_masks_with_everybody() -> None:
    directory = complete(NAMES[:5])
    for name in NAMES[:5]:
        # The places of shares are those of the roster, whoever stays away.
        assert directory.holders(name) == NAMES
        others = tuple(other for other in NAMES[:5] if other != name)
        assert directory.neighbours(name, NAMES[:5]) == others


def test_in_a_sparse_graph_the_chosen_hold_and_both_sides_of_a_choice_mask() -> None:
    directory = sparse()
    assert directory.holders("cem") == ("ana", "cem", "eli")
    assert directory.holders("fay") == ("cem", "dia", "fay")
    assert directory.neighbours("cem", NAMES) == ("ana", "ben", "eli", "fay")
    assert directory.neighbours("fay", NAMES) == ("cem", "dia")
    assert directory.neighbours("cem", ("fay", "ana")) == ("fay", "ana")
    assert directory.neighbours("ana", ("eli", "fay")) == ()
    for one, other in combinations(NAMES, 2):
        assert (other in directory.neighbours(one, NAMES)) == (one in directory.neighbours(other, NAMES))


def test_a_box_holds_a_seed_of_a_maker_and_shares_for_a_holder() -> None:
    shares = SLOTS * SHARES_BYTES_PER_SLOT
    directory = sparse()
    assert directory.makers == ("ana", "ben", "cem")
    assert directory.box_content_bytes("ana", "ben") == GROUP_SEED_BYTES + shares
    assert directory.box_content_bytes("ana", "fay") == GROUP_SEED_BYTES
    assert directory.box_content_bytes("fay", "dia") == shares
    assert directory.box_content_bytes("fay", "ana") == 0


def test_the_digest_is_bound_to_every_part() -> None:
    directory = sparse()

    def with_ana(**changes) -> Directory:
        entries = dict(directory.advertised) | {"ana": replace(directory.advertised["ana"], **changes)}
        return replace(directory, advertised=entries)

    others = [
        replace(directory, epoch=1),
        replace(directory, session=replace(SESSION, session_id=b"another session!")),
        replace(directory, session=replace(SESSION, policy_hash=b"q" * 32)),
        replace(directory, session=replace(SESSION, quorum=Quorum(minimum=4, colluding=0))),
        sparse(NAMES[:5]),
        with_ana(session_key=public_key("eve")),
        with_ana(mask_keys=advertised("eve", ()).mask_keys),
        with_ana(neighbours=frozenset({"ben", "cem"})),
    ]
    assert len({directory.digest, *(other.digest for other in others)}) == 1 + len(others)
    assert sparse().digest == directory.digest


def test_the_cohort_is_the_directory_and_who_has_finished() -> None:
    directory = sparse()
    cohorts = {
        directory.cohort_hash(NAMES),
        directory.cohort_hash(NAMES[:5]),
        directory.cohort_hash(NAMES[1:]),
        sparse(NAMES[:5]).cohort_hash(NAMES[:5]),
        directory.digest,
    }
    assert len(cohorts) == 5
    assert directory.cohort_hash(NAMES[::-1]) == directory.cohort_hash(NAMES)


def test_what_the_sharers_sign_is_the_cohort_at_the_place_of_the_set_up() -> None:
    statement = replace(sparse(), epoch=3).agreement(NAMES[:5])
    assert statement.content == replace(sparse(), epoch=3).cohort_hash(NAMES[:5])
    assert statement.label == SESSION.setup_label(3)
    assert statement.signers == NAMES[:5]
    assert statement.session == SESSION
    assert (statement.kind, statement.answer_kind) == (MessageKind.AGREEMENT, MessageKind.AGREEMENTS)
