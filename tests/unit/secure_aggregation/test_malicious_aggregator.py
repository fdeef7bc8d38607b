"""The catalogue of what a malicious aggregator may try, and which refusal meets it.

Each lie is told by an aggregator that holds everything it has seen, writes rightly formed messages, and has
the colluding clients sign and reveal what it likes. After each refusal nothing has been revealed, and the
honest message still passes: a lie costs the aggregator its lie and nobody else the sum. The first half of
the table is tested in `test_malicious_set_up`.

| the aggregator ...                            | who notices, where         | code                   |
|-----------------------------------------------|----------------------------|------------------------|
| swaps a session key or a mask key             | share: all                 | SIGNATURE_INVALID      |
| signs keys with an identity of its own        | share: all                 | SIGNATURE_INVALID      |
| puts one client's keys in another's place     | share: all                 | MESSAGE_UNEXPECTED     |
| replays keys of another set-up or session     | share: all                 | MESSAGE_UNEXPECTED     |
| leaves out or replaces a client's own keys    | share: that client         | MESSAGE_UNEXPECTED     |
| claims a cohort of one, or too small a one    | every stage: all           | COHORT_INCOMPLETE      |
| shows two clients different keys              | agree: both                | SIGNATURE_INVALID      |
| has told a client another quorum              | agree: all                 | SIGNATURE_INVALID *    |
| has given a client another roster             | share, agree: all          | SIGNATURE_INVALID      |
| changes a box, swaps two, replays one         | agree: its recipient       | SIGNATURE_INVALID      |
| withholds a box                               | agree: its recipient       | MESSAGE_MALFORMED      |
| leaves out what a client has shared           | agree: that client         | MESSAGE_UNEXPECTED     |
| names a sharer without keys                   | agree: all                 | MESSAGE_MALFORMED      |
| shows two clients different sharers           | accept: both               | SIGNATURE_INVALID *    |
| shows a client two cohorts                    | agree: that client         | SURVIVORS_INCONSISTENT |
| changes policy, session, model, slot, set-up  | every stage: all           | MESSAGE_UNEXPECTED     |
| gives clients different models for one sum    | confirm or unmask: all     | MESSAGE_UNEXPECTED *   |
| names a survivor who has not shared           | confirm: all               | SURVIVORS_INCONSISTENT |
| declares a client dropped that is alive       | confirm, open: that client | SURVIVORS_INCONSISTENT |
| ... and takes its late upload                 | nobody: it stays masked    | test_masked_vectors    |
| shows two clients different survivor lists    | unmask: both               | SIGNATURE_INVALID *    |
| shows a second list, before or after unmask   | confirm: all               | SURVIVORS_INCONSISTENT |
| counts too few signatures, or one twice       | unmask: all                | COHORT_INCOMPLETE      |
| counts forged or borrowed signatures          | unmask: all                | SIGNATURE_INVALID      |
| counts the signature of who is not listed     | unmask: all                | SURVIVORS_INCONSISTENT |
| replays what was said of another sum          | every stage: all           | MESSAGE_REPLAYED       |
| sums others than were confirmed, and says so  | open: all                  | SURVIVORS_INCONSISTENT |
| drops, doubles, scales, replaces, replays,    | open: all, and they drop   | SUM_MISMATCH           |
|    permutes, uses another key, adds constants |    the keys of the set-up  | test_sum_integrity     |

* or the one of another row, whichever check comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.sum_messages import SurvivorList, write_survivors
from fedstyle_secure.secure_aggregation.wire import Label, MessageKind, write_as_aggregator
from tests.secure_attacks import (
    MASK,
    SELF,
    Coalition,
    add_up,
    has_revealed,
    refusal,
    refused,
    signature,
    signatures_of,
    write_signatures,
    write_sum,
)
from tests.secure_sums import MODEL, Messages, World, exact_sum, make_settings, make_vectors

NAMES = ("ana", "ben", "cem", "dia", "eli")
QUORUM = Quorum(minimum=3, colluding=1)  # four of five must be there
LENGTH = 20
SETTINGS = make_settings(LENGTH, cohort_cap=5)
LABEL = Label("train", 1, MODEL, 0, 1)


def new_world(**terms: object) -> World:
    return World.of(NAMES, **({"quorum": QUORUM, "slots": 4} | terms))


def finishes(world: World, uploads: Messages, vectors: Mapping[str, np.ndarray], **how: object) -> None:
    """The honest messages still pass, and the sum of all who have uploaded is exact."""
    run = world.finish(uploads, **how)
    np.testing.assert_array_equal(run.total.values, exact_sum(vectors, SETTINGS, uploads))


def nobody_has_revealed(world: World, names: Iterable[str] = NAMES, *, slot: int = 1) -> bool:
    return not any(has_revealed(world, name, slot=slot) for name in names)


# upload -> confirm: survivor lists


@dataclass
class Uploaded:
    """A session in which everybody has uploaded for one sum, and eli helps the aggregator."""

    world: World
    vectors: dict[str, np.ndarray]
    uploads: Messages
    coalition: Coalition

    @classmethod
    def of(cls, world: World | None = None, *, colluding: Sequence[str] = ("eli",)) -> Uploaded:
        world = (world or new_world()).set_up()
        vectors = make_vectors(world.clients, LENGTH)
        coalition = Coalition(world, colluding)
        return cls(world, vectors, world.upload(vectors, SETTINGS), coalition)

    def list(self, *names: str, label: Label = LABEL) -> SurvivorList:
        return self.coalition.survivors(label, names)

    def confirm(self, listed: SurvivorList, names: Iterable[str] | None = None) -> dict[str, bytes]:
        """Signatures under a list, as honest clients give them."""
        chosen = listed.clients if names is None else names
        message = write_survivors(listed)
        return signatures_of(self.world.confirm(dict.fromkeys(chosen, message)))

    def signed_by_colluders(self, listed: SurvivorList) -> dict[str, bytes]:
        return {
            name: signature(listed.statement, self.world.identities[name]) for name in self.coalition.names
        }

    def finish(self) -> None:
        finishes(self.world, self.uploads, self.vectors)


@pytest.fixture
def uploaded() -> Uploaded:
    return Uploaded.of()


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_a_survivor_list_that_is_too_short_is_refused(uploaded: Uploaded, size: int) -> None:
    for names in combinations(NAMES, size):
        for name in NAMES:
            code = refused(uploaded.world.clients[name].confirm, write_survivors(uploaded.list(*names)))
            assert code is ErrorCode.COHORT_INCOMPLETE
    assert nobody_has_revealed(uploaded.world)
    uploaded.finish()


def test_a_client_that_is_declared_dropped_notices(uploaded: Uploaded) -> None:
    without = uploaded.list("ana", "cem", "dia", "eli")
    ben = uploaded.world.clients["ben"]
    assert refused(ben.confirm, write_survivors(without)) is ErrorCode.SURVIVORS_INCONSISTENT
    sealed = add_up([uploaded.uploads["ana"]], uploaded.world.session, SETTINGS)
    lie = write_sum(
        sealed, session=uploaded.world.session, settings=SETTINGS, label=LABEL, contributed=without.clients
    )
    assert refused(ben.open, lie) is ErrorCode.SURVIVORS_INCONSISTENT
    assert nobody_has_revealed(uploaded.world)
    uploaded.finish()


def test_a_survivor_who_has_not_shared_is_refused() -> None:
    world = new_world().set_up(silent={"share": ["eli"]})
    coalition, vectors = Coalition(world), make_vectors(NAMES[:4], LENGTH)
    uploads = world.upload(vectors, SETTINGS)
    for client in list(world.clients.values())[:4]:
        lie = write_survivors(coalition.survivors(LABEL, NAMES))
        assert refused(client.confirm, lie) is ErrorCode.SURVIVORS_INCONSISTENT
    assert nobody_has_revealed(world, NAMES[:4])
    finishes(world, uploads, vectors)


ELSEWHERE = {
    "another round": replace(LABEL, round_number=2),
    "another sum": replace(LABEL, stage="centre"),
    "another model": replace(LABEL, model_hash=b"n" * 32),
    "another slot": replace(LABEL, slot=2),
    "another set-up": replace(LABEL, epoch=1),
}


@pytest.mark.parametrize("label", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_list_for_something_else_is_refused(uploaded: Uploaded, label: Label) -> None:
    listed = uploaded.list(*NAMES, label=label)
    for client in uploaded.world.clients.values():
        assert refused(client.confirm, write_survivors(listed)) is ErrorCode.MESSAGE_UNEXPECTED
    true = uploaded.list(*NAMES)
    uploaded.confirm(true)
    signatures = {
        name: signature(listed.statement, identity) for name, identity in uploaded.world.identities.items()
    }
    for client in uploaded.world.clients.values():
        lie = write_signatures(listed.statement, signatures)
        assert refused(client.unmask, lie) is ErrorCode.MESSAGE_UNEXPECTED
        lie = write_signatures(true.statement, signatures)
        assert refused(client.unmask, lie) is ErrorCode.SIGNATURE_INVALID
    assert nobody_has_revealed(uploaded.world)
    uploaded.finish()


@pytest.mark.parametrize("part", ["session", "policy"])
def test_messages_of_another_session_or_policy_are_refused(uploaded: Uploaded, part: str) -> None:
    changes = {"session_id": b"t" * 16} if part == "session" else {"policy_hash": b"q" * 32}
    session = replace(uploaded.world.session, **changes)
    elsewhere = replace(uploaded.list(*NAMES), session=session)
    sealed = add_up(uploaded.uploads.values(), uploaded.world.session, SETTINGS)
    total = write_sum(sealed, session=session, settings=SETTINGS, label=LABEL, contributed=NAMES)
    for client in uploaded.world.clients.values():
        assert refused(client.confirm, write_survivors(elsewhere)) is ErrorCode.MESSAGE_UNEXPECTED
        lie = write_signatures(elsewhere.statement, {})
        assert refused(client.unmask, lie) is ErrorCode.MESSAGE_UNEXPECTED
        assert refused(client.open, total) is ErrorCode.MESSAGE_UNEXPECTED
    assert nobody_has_revealed(uploaded.world)
    uploaded.finish()


def test_clients_who_are_given_different_models_reveal_nothing() -> None:
    """ana and ben have uploaded for another model than the others, in the same slot, stage and round."""
    world = new_world().set_up()
    coalition, vectors = Coalition(world, ["eli"]), make_vectors(NAMES, LENGTH)
    of_first = {name: vectors[name] for name in ("ana", "ben")}
    of_second = {name: vectors[name] for name in ("cem", "dia", "eli")}
    other = replace(LABEL, model_hash=b"n" * 32)
    world.upload(of_first, SETTINGS)
    world.upload(of_second, SETTINGS, model_hash=b"n" * 32)
    lists = {label: coalition.survivors(label, NAMES) for label in (LABEL, other)}
    signatures: dict[Label, dict[str, bytes]] = {}
    for label, mine, others in ((LABEL, of_first, of_second), (other, of_second, of_first)):
        message = write_survivors(lists[label])
        for name in others:
            assert refused(world.clients[name].confirm, message) is ErrorCode.MESSAGE_UNEXPECTED
        signatures[label] = signatures_of(world.confirm(dict.fromkeys(mine, message)))
    borrowed = signatures[LABEL] | signatures[other]
    for label, mine in ((LABEL, of_first), (other, of_second)):
        for chosen, code in (
            (signatures[label], ErrorCode.COHORT_INCOMPLETE),
            (borrowed, ErrorCode.SIGNATURE_INVALID),
        ):
            lie = write_signatures(lists[label].statement, chosen)
            for name in mine:
                assert refused(world.clients[name].unmask, lie) is code
    assert nobody_has_revealed(world)


def test_two_clients_who_are_shown_different_lists_reveal_nothing(uploaded: Uploaded) -> None:
    first, second = uploaded.list(*NAMES), uploaded.list("ana", "ben", "cem", "dia")
    shown = {"ana": first, "ben": first, "cem": second, "dia": second}
    signatures: dict[str, bytes] = {}
    for name, listed in shown.items():
        signatures |= uploaded.confirm(listed, [name])
    for name, listed in shown.items():
        # All signatures there are, under either list; those of the right one are too few even with eli's.
        everybody = signatures | (uploaded.signed_by_colluders(listed) if listed == first else {})
        right = {other: mark for other, mark in everybody.items() if shown.get(other, listed) == listed}
        unmask = uploaded.world.clients[name].unmask
        assert refused(unmask, write_signatures(listed.statement, everybody)) is ErrorCode.SIGNATURE_INVALID
        assert refused(unmask, write_signatures(listed.statement, right)) is ErrorCode.COHORT_INCOMPLETE
    assert nobody_has_revealed(uploaded.world)


def test_a_second_list_before_and_after_unmask_is_refused(uploaded: Uploaded) -> None:
    """What asking for both shares of a client comes down to."""
    first, second = uploaded.list(*NAMES), uploaded.list("ana", "ben", "cem", "dia")
    signatures = uploaded.confirm(first)
    clients = [uploaded.world.clients[name] for name in NAMES[:4]]
    for client in clients:
        code = refused(client.confirm, write_survivors(second))
        assert code is ErrorCode.SURVIVORS_INCONSISTENT
    assert nobody_has_revealed(uploaded.world)
    revealed = [client.unmask(write_signatures(first.statement, signatures)) for client in clients]
    for client in clients:
        code = refused(client.confirm, write_survivors(second))
        assert code is ErrorCode.SURVIVORS_INCONSISTENT
    forged = signatures | uploaded.signed_by_colluders(second)
    lies = [
        forged,
        dict.fromkeys(NAMES[:4], bytes(64)),
        dict.fromkeys(NAMES[:4], uploaded.signed_by_colluders(second)["eli"]),
    ]
    for client in clients:
        for lie in lies:
            message = write_signatures(second.statement, lie)
            assert refused(client.unmask, message) is ErrorCode.SIGNATURE_INVALID
    uploaded.coalition.learn(revealed, first)
    for name in NAMES[:4]:
        assert uploaded.coalition.seed(name, 1, SELF)
        assert uploaded.coalition.seed(name, 1, MASK) is None
    # The same request again is answered with the same bytes: nothing more is in it.
    again = [client.unmask(write_signatures(first.statement, signatures)) for client in clients]
    assert again == revealed


def test_signatures_that_do_not_count_are_refused(uploaded: Uploaded) -> None:
    listed = uploaded.list("ana", "ben", "cem", "dia")
    signatures = uploaded.confirm(listed)
    flipped = bytes([signatures["ben"][0] ^ 1]) + signatures["ben"][1:]
    of_eli = uploaded.signed_by_colluders(listed)
    session = uploaded.world.session

    def raw(bits: int, *parts: bytes) -> bytes:
        return write_as_aggregator(
            MessageKind.CONFIRMATIONS, [bytes([bits]), *parts], session=session, label=LABEL
        )

    in_order = [signatures[name] for name in ("ana", "ben", "cem", "dia")]
    lies = {
        "too few": (write_signatures(listed.statement, dict(list(signatures.items())[:3])), "INCOMPLETE"),
        "none": (write_signatures(listed.statement, {}), "INCOMPLETE"),
        "forged": (write_signatures(listed.statement, signatures | {"ben": flipped}), "SIGNATURE"),
        "borrowed": (
            write_signatures(listed.statement, signatures | {"ben": signatures["ana"]}),
            "SIGNATURE",
        ),
        "of a dropped client": (
            raw(0b11011, in_order[0], in_order[1], in_order[3], of_eli["eli"]),
            "SURVIVORS",
        ),
        "of a dropped client on top": (raw(0b11111, *in_order, of_eli["eli"]), "MALFORMED"),
        "three, one twice": (raw(0b0111, *in_order[:3], in_order[0]), "INCOMPLETE"),
        "one twice": (raw(0b1111, in_order[0], *in_order[:3]), "SIGNATURE"),
        "one missing": (raw(0b1111, *in_order[:3]), "MALFORMED"),
        "one too many": (raw(0b0111, *in_order), "INCOMPLETE"),
        "a stranger's": (raw(0b100111, *in_order), "MALFORMED"),
    }
    for name in listed.clients:
        for lie, code in lies.values():
            assert code in refusal(uploaded.world.clients[name].unmask, lie).code.name
    assert nobody_has_revealed(uploaded.world)
    uploads = {name: uploaded.uploads[name] for name in listed.clients}
    finishes(uploaded.world, uploads, uploaded.vectors)


def test_a_client_who_has_not_confirmed_reveals_nothing(uploaded: Uploaded) -> None:
    listed = uploaded.list(*NAMES)
    signatures = uploaded.confirm(listed, NAMES[1:])
    enough = write_signatures(listed.statement, signatures)
    assert refused(uploaded.world.clients["ana"].unmask, enough) is ErrorCode.STAGE_OUT_OF_ORDER
    assert not has_revealed(uploaded.world, "ana", slot=1)
    uploaded.finish()


# Two lists for one sum, in every way there is

COHORTS = [
    (names, Quorum(minimum=minimum, colluding=colluding))
    for names in ("abc", "abcd", "abcde", "abcdef")
    for minimum in (2, 3, 4)
    for colluding in range(minimum)
    if max(minimum, (len(names) + colluding) // 2 + 1) <= len(names)
]


@pytest.mark.parametrize(
    ("names", "quorum"), COHORTS, ids=[f"{len(n)}-{q.minimum}-{q.colluding}" for n, q in COHORTS]
)
def test_no_two_lists_of_a_sum_are_ever_acted_upon(names: str, quorum: Quorum) -> None:
    """Whatever two groups the aggregator shows two lists, with all colluders signing both.

    The coalition never has both seeds of an honest client.
    """
    honest = names[quorum.colluding :]
    colluding = names[: quorum.colluding]
    settings = make_settings(2, cohort_cap=len(names))
    for size in range(1, len(honest) // 2 + 1):
        group = honest[:size]
        world = World.of(names, quorum=quorum, slots=1).set_up()
        coalition = Coalition(world, colluding)
        world.upload({name: np.zeros(2) for name in names}, settings, slot=0)
        label = Label("train", 1, MODEL, 0, 0)
        # Each group is told that as many as can be of the other one have dropped out.
        rest = honest[size:]
        shown = {
            group: _list_around(coalition, label, group, rest),
            rest: _list_around(coalition, label, rest, group),
        }
        acted = 0
        for members, listed in shown.items():
            signed = [name for name in members if name in listed.clients]
            signatures = signatures_of(world.confirm(dict.fromkeys(signed, write_survivors(listed))))
            signatures |= {name: signature(listed.statement, world.identities[name]) for name in colluding}
            message = write_signatures(listed.statement, signatures)
            if len(signatures) >= world.threshold:
                acted += 1
                coalition.learn([world.clients[name].unmask(message) for name in signed], listed)
            else:
                for name in signed:
                    assert refused(world.clients[name].unmask, message) is ErrorCode.COHORT_INCOMPLETE
                    assert not has_revealed(world, name, slot=0)
        assert acted <= 1
        for name in honest:
            assert coalition.seed(name, 0, SELF) is None or coalition.seed(name, 0, MASK) is None


def _list_around(coalition: Coalition, label: Label, members: str, others: str) -> SurvivorList:
    needed = coalition.session.threshold - len(members) - len(coalition.names)
    return coalition.survivors(label, [*coalition.names, *members, *others[: max(0, needed)]])


# Messages of another round


def test_what_was_said_in_another_round_is_refused(uploaded: Uploaded) -> None:
    world = uploaded.world
    first = world.finish(uploaded.uploads)
    vectors = make_vectors(NAMES, LENGTH, seed=2)
    uploads = world.upload(vectors, SETTINGS, round_number=2)
    for name, client in world.clients.items():
        assert refused(client.confirm, first.answers["upload"][name]) is ErrorCode.MESSAGE_REPLAYED
        assert refused(client.unmask, first.answers["confirm"][name]) is ErrorCode.MESSAGE_REPLAYED
        assert refused(client.open, first.answers["unmask"][name]) is ErrorCode.MESSAGE_REPLAYED
    assert nobody_has_revealed(world, slot=2)
    finishes(world, uploads, vectors)


# Small cohorts


def test_a_sum_of_fewer_than_the_minimum_is_never_made() -> None:
    """Whatever the roster: of all survivor lists, exactly those of the threshold or more are confirmed."""
    for count in range(2, 7):
        names = [f"client {place}" for place in range(count)]
        for minimum in range(2, count + 1):
            world = World.of(names, quorum=Quorum(minimum=minimum, colluding=0), slots=1).set_up()
            coalition = Coalition(world)
            settings = make_settings(2, cohort_cap=count)
            world.upload({name: np.zeros(2) for name in names}, settings, slot=0)
            for size in range(1, count + 1):
                message = write_survivors(coalition.survivors(replace(LABEL, slot=0), names[:size]))
                if size < max(minimum, count // 2 + 1):
                    assert refused(world.clients[names[0]].confirm, message) is ErrorCode.COHORT_INCOMPLETE
                else:
                    world.clients[names[0]].confirm(message)
                    break


def test_a_list_with_too_few_of_ones_own_holders_is_refused() -> None:
    """In a sparse graph: the list is long enough, and those who hold the client's shares are gone.

    And the other way round: all of these are there, and too few others.
    """
    names = [f"client {place:02}" for place in range(48)]
    world = World.of(names, quorum=Quorum(minimum=2, colluding=1), slots=1).set_up()
    coalition = Coalition(world)
    plan = coalition.directory.plan
    assert not plan.complete
    settings = make_settings(2, cohort_cap=48)
    uploads = world.upload({name: np.zeros(2) for name in names}, settings, slot=0)
    own, label = names[7], replace(LABEL, slot=0)
    holders = [name for name in coalition.directory.holders(own) if name != own]
    strangers = [name for name in names if name not in (own, *holders)]
    for kept, code in ((plan.threshold - 2, ErrorCode.COHORT_INCOMPLETE), (plan.threshold - 1, None)):
        listed = coalition.survivors(label, [own, *strangers, *holders[:kept]])
        assert len(listed.clients) >= world.threshold
        if code:
            assert refused(world.clients[own].confirm, write_survivors(listed)) is code
        else:
            world.clients[own].confirm(write_survivors(listed))
    among_friends = coalition.survivors(label, [own, *holders])
    assert plan.threshold <= len(among_friends.clients) < world.threshold
    assert refused(world.clients[own].confirm, write_survivors(among_friends)) is ErrorCode.COHORT_INCOMPLETE
    total = write_sum(
        add_up(uploads.values(), world.session, settings),
        session=world.session,
        settings=settings,
        label=label,
        contributed=among_friends.clients,
    )
    assert refused(world.clients[own].open, total) is ErrorCode.COHORT_INCOMPLETE
    assert not has_revealed(world, own, slot=0)
