"""What is left of a client's upload when an aggregator and its helpers have taken off all that they can.

The coalition holds every message, the seeds, shares and keys of the colluding clients, and every seed that
the revealed shares bring back. It decrypts a single upload and takes off every mask whose key it can compute.
What is left must be uniform, by chi-square tests, in every position that the coalition can bring a client
into. Each position has its control: the mask that is said to protect there is switched off, and the same test
must fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode
from fedstyle_secure.secure_aggregation.client_setup import Membership
from fedstyle_secure.secure_aggregation.packing import Layout, unpack
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.setup_messages import write_share_delivery
from fedstyle_secure.secure_aggregation.slot_secrets import SlotSecrets
from fedstyle_secure.secure_aggregation.statement import Statement
from fedstyle_secure.secure_aggregation.sum_messages import write_survivors
from fedstyle_secure.secure_aggregation.wire import Label, MessageKind
from tests.secure_attacks import (
    MASK,
    SELF,
    Coalition,
    least_p_value,
    refused,
    signatures_of,
    take_shares,
    write_signatures,
)
from tests.secure_sums import MODEL, World, exact_sum, make_settings

NAMES = ("ana", "ben", "cem", "dia", "eli", "fay")
COLLUDING = ("ana", "ben")
HONEST = ("cem", "dia", "eli", "fay")
QUORUM = Quorum(minimum=3, colluding=2)  # five of six must be there
LENGTH = 8186 + 4000
SETTINGS = make_settings(LENGTH, cohort_cap=6)
PLAIN_BITS = Layout.of(SETTINGS).parameters.plain_bits
LABEL = Label("train", 1, MODEL, 0, 1)

UNIFORM, NOT_UNIFORM = 1e-7, 1e-100


def small_updates(names: Iterable[str]) -> dict[str, np.ndarray]:
    """Updates as training makes them: small against the limit."""
    rng = np.random.default_rng(3)
    return {name: 0.02 * rng.standard_normal(LENGTH) for name in names}


def masks_without(kind: int):
    original = Membership.masks

    def some(self: Membership, label: Label, layout: Layout):
        own, *pairs = original(self, label, layout)
        return pairs if kind == SELF else [own]

    return some


@pytest.fixture(params=[(), (MASK,), (SELF,)], ids=["masks on", "pair masks off", "self masks off"])
def off(request, monkeypatch) -> tuple[int, ...]:
    """Kinds of masks that are switched off."""
    for kind in request.param:
        monkeypatch.setattr(Membership, "masks", masks_without(kind))
    return request.param


def infiltrated(*, off: tuple[int, ...] = (), slots: int = 2) -> Coalition:
    """A session that is ready for sums, and the coalition in it."""
    return Coalition(World.of(NAMES, quorum=QUORUM, slots=slots).set_up(), COLLUDING, off)


def p_value(coalition: Coalition, *uploads: bytes) -> float:
    return least_p_value(coalition.residue(uploads, SETTINGS), PLAIN_BITS)


@pytest.mark.parametrize("client", ["cem", "dia", "eli"])
def test_a_survivors_vector_is_uniform_for_the_coalition(client: str, off) -> None:
    """Its self mask has come off; the masks that it shares with honest survivors have not."""
    coalition = infiltrated(off=off)
    # Nobody opens the sum: with masks off the aggregator takes too many away.
    run = coalition.world.sum(small_updates(NAMES), SETTINGS, silent={"upload": ["fay"], "open": NAMES})
    coalition.learn(run.sent["unmask"].values(), coalition.survivors(LABEL, run.sent["upload"]))
    assert coalition.seed(client, 1, SELF)
    assert coalition.seed(client, 1, MASK) is None
    assert coalition.seed("fay", 1, MASK)
    found = p_value(coalition, run.sent["upload"][client])
    assert found < NOT_UNIFORM if off == (MASK,) else found > UNIFORM


def test_a_dropped_clients_late_upload_is_uniform_for_the_coalition(off) -> None:
    """Whoever declares fay dropped learns every mask that she shares with others, and not her own one."""
    coalition = infiltrated(off=off)
    vectors = small_updates(NAMES)
    there = {name: vector for name, vector in vectors.items() if name != "fay"}
    run = coalition.world.sum(there, SETTINGS, silent={"open": NAMES})
    coalition.learn(run.sent["unmask"].values(), coalition.survivors(LABEL, run.sent["upload"]))
    late = coalition.world.upload({"fay": vectors["fay"]}, SETTINGS)["fay"]
    assert coalition.seed("fay", 1, MASK)
    assert coalition.seed("fay", 1, SELF) is None
    assert len(coalition.known_masks("fay", LABEL, SETTINGS)) == (0 if off == (MASK,) else 5)
    found = p_value(coalition, late)
    assert found < NOT_UNIFORM if off == (SELF,) else found > UNIFORM


def test_the_coalition_computes_the_honest_sum_and_no_part_of_it() -> None:
    coalition = infiltrated()
    vectors = small_updates(NAMES)
    run = coalition.world.sum(vectors, SETTINGS, silent={"upload": ["fay"]})
    coalition.learn(run.sent["unmask"].values(), coalition.survivors(LABEL, run.sent["upload"]))
    honest = [name for name in HONEST if name != "fay"]
    uploads = run.sent["upload"]
    residue = coalition.residue([uploads[name] for name in honest], SETTINGS)
    found = coalition.values(residue, SETTINGS, clients=len(honest))
    np.testing.assert_array_equal(found, exact_sum(vectors, SETTINGS, honest))
    parts = [part for size in range(1, len(honest)) for part in combinations(honest, size)]
    for part in parts:
        assert p_value(coalition, *(uploads[name] for name in part)) > UNIFORM, part
        with_colluders = [*(uploads[name] for name in part), uploads["ana"], uploads["ben"]]
        assert p_value(coalition, *with_colluders) > UNIFORM, part


def reuse_mask_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What must not be: one mask key for all slots."""
    original = SlotSecrets.__init__

    def one_mask_seed(self: SlotSecrets, slots: int) -> None:
        original(self, slots)
        self._seeds[1:, MASK] = self._seeds[0, MASK]
        self.mask_keys = (self.mask_keys[0],) * slots

    monkeypatch.setattr(SlotSecrets, "__init__", one_mask_seed)


@pytest.mark.parametrize("reused", [False, True], ids=["a key for each slot", "one key"])
def test_a_recovery_opens_nothing_of_another_slot(reused: bool, monkeypatch) -> None:
    """fay is in the sums of slots 0 and 2 and drops out of that in slot 1, which gives her mask seed away.

    The self masks of slots 0 and 2 have come off. With one mask key for all slots her vectors lie open then.
    """
    if reused:
        reuse_mask_seeds(monkeypatch)
    coalition = infiltrated(slots=3)
    vectors, uploads = small_updates(NAMES), {}
    for slot in range(3):
        silent = {"upload": ["fay"]} if slot == 1 else {}
        run = coalition.world.sum(vectors, SETTINGS, round_number=slot, silent=silent)
        label = Label("train", slot, MODEL, 0, slot)
        coalition.learn(run.sent["unmask"].values(), coalition.survivors(label, run.sent["upload"]))
        uploads[slot] = run.sent["upload"].get("fay")
    for slot in (0, 2):
        assert coalition.seed("fay", slot, SELF)
        assert coalition.seed("fay", slot, MASK) is None
        if reused:
            coalition.shares["fay", slot, MASK] = coalition.shares["fay", 1, MASK]
            opened = coalition.values(coalition.residue([uploads[slot]], SETTINGS), SETTINGS, clients=1)
            np.testing.assert_array_equal(opened, exact_sum(vectors, SETTINGS, ["fay"]))
        else:
            assert p_value(coalition, uploads[slot]) > UNIFORM


def test_two_rounds_of_one_vector_share_nothing() -> None:
    coalition = infiltrated()
    vectors, residues = small_updates(NAMES), []
    for slot in range(2):
        run = coalition.world.sum(vectors, SETTINGS, round_number=slot)
        label = Label("train", slot, MODEL, 0, slot)
        coalition.learn(run.sent["unmask"].values(), coalition.survivors(label, NAMES))
        residues.append(coalition.residue([run.sent["upload"]["cem"]], SETTINGS))
    modulus = np.uint64(2**PLAIN_BITS - 1)
    difference = [(first - second) & modulus for first, second in zip(*residues, strict=True)]
    assert least_p_value(difference, PLAIN_BITS) > UNIFORM


def test_a_sum_that_failed_and_a_retry_without_a_client_show_nothing_of_that_client() -> None:
    """One share too few has arrived in slot 0; in slot 1 the same vectors are summed without cem's.

    Had the first sum opened, the difference of both would be cem's vector. With the shares that the coalition
    holds of its own it still has one too few.
    """
    coalition = infiltrated()
    world, vectors = coalition.world, small_updates(NAMES)
    uploads = world.upload(vectors, SETTINGS, round_number=0)
    answers = world.handle("confirm", world.confirm(world.handle("upload", uploads)))
    revealed = world.unmask({name: answers[name] for name in (*COLLUDING, "cem", "dia")})
    assert refused(world.handle, "unmask", revealed) is ErrorCode.COHORT_INCOMPLETE
    first, second = (Label("train", slot, MODEL, 0, slot) for slot in range(2))
    coalition.learn(revealed.values(), coalition.survivors(first, NAMES))
    world.aggregator.abandon_sum()
    retry = world.sum(vectors, SETTINGS, silent={"upload": ["cem"]})
    coalition.learn(retry.sent["unmask"].values(), coalition.survivors(second, retry.sent["upload"]))

    assert all(coalition.seed(name, 0, kind) is None for name in HONEST for kind in (SELF, MASK))
    for names in [("cem",), HONEST]:
        assert p_value(coalition, *(uploads[name] for name in names)) > UNIFORM
    everybody = coalition.residue([uploads[name] for name in HONEST], SETTINGS)
    rest = coalition.residue([retry.sent["upload"][name] for name in HONEST if name != "cem"], SETTINGS)
    modulus = np.uint64(2**PLAIN_BITS - 1)
    difference = [(one - other) & modulus for one, other in zip(everybody, rest, strict=True)]
    assert least_p_value(difference, PLAIN_BITS) > UNIFORM


# Clients who are shown different sharers


def attack_by_other_sharers(names: list[str], quorum: Quorum) -> tuple[list[np.ndarray], np.ndarray, Layout]:
    """Hide from the victim every neighbour that will survive; let all others drop out.

    The masks that the victim then uses are shared with the helper and with clients whose mask seeds the
    survivors reveal, and the survivors, who believe that the victim is one of theirs, reveal its self seed.
    Returns what is left of the victim's upload, and its encoded values.
    """
    helper, victim = names[0], names[1]
    threshold = quorum.threshold(len(names))
    world = World.of(names, quorum=quorum, slots=1)
    relay = take_shares(world)
    group_seed = world.clients[helper]._setup._group_seed  # the first on the roster makes the key
    neighbours = relay.directory.neighbours(victim, names)
    holders = [name for name in relay.directory.holders(victim) if name not in (helper, victim)]
    strangers = [name for name in names if name not in (*neighbours, helper, victim)]
    survivors = [helper, victim, *strangers, *holders][: threshold + 1]
    hidden = [name for name in survivors if name in neighbours and name != helper]
    # A set-up needs a quorum too, so in the complete graph one of them is shown.
    hidden = hidden[: len(names) - threshold]
    shown = [name for name in names if name not in hidden]
    for name, client in world.clients.items():
        boxes = {sender: relay._boxes[sender] for sender in (shown if name == victim else names)}
        client.agree(write_share_delivery(boxes, directory=relay.directory, recipient=name))
        client.accept(b"")  # the aggregator has no signatures to show
    coalition = Coalition(world, [helper], group_seeds={helper: group_seed})

    settings = make_settings(LENGTH, cohort_cap=len(names))
    vectors = small_updates(survivors)
    upload = world.upload(vectors, settings, slot=0)[victim]
    listed = coalition.survivors(Label("train", 1, MODEL, 0, 0), survivors)
    others = [name for name in listed.clients if name != victim]
    signed = world.confirm(dict.fromkeys(others, write_survivors(listed)))
    message = write_signatures(listed.statement, signatures_of(signed))
    coalition.learn(world.unmask(dict.fromkeys(others, message)).values(), listed)
    residue = coalition.residue([upload], settings, sharers=shown)
    return residue, exact_sum(vectors, settings, [victim]), Layout.of(settings)


@pytest.mark.parametrize("clients", [6, 48])
def test_what_agreeing_on_the_sharers_is_for(clients: int, monkeypatch) -> None:
    """Without stage `agree` an aggregator with one helper reads a client's vector in a sparse graph.

    In the complete graph two quorums, of sharers and of survivors, have an honest client in common, and the
    mask that it shares with the victim stays. `test_malicious_set_up` shows who refuses.
    """
    original = Statement.require_signatures

    def not_of_agreements(self: Statement, data: bytes) -> None:
        if self.kind is not MessageKind.AGREEMENT:
            original(self, data)

    monkeypatch.setattr(Statement, "require_signatures", not_of_agreements)
    names = [f"client {place:02}" for place in range(clients)]
    residue, encoded, layout = attack_by_other_sharers(names, Quorum(minimum=2, colluding=1))
    if clients == 6:
        assert least_p_value(residue, layout.parameters.plain_bits) > UNIFORM
    else:
        blocks = zip(residue, layout.blocks(), strict=True)
        opened = [unpack(words, layout=layout, block=block, clients=1)[0] for words, block in blocks]
        np.testing.assert_array_equal(np.concatenate(opened), encoded)
