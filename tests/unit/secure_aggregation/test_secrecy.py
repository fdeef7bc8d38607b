"""What an aggregator with helpers can and cannot bring together, and what nobody keeps, shows or writes down.

`tests/statistical/test_masked_vectors.py` looks at what is left of a client's vector; here it is seeds, keys
and values that must not be there at all.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from fedstyle_secure.errors import FedStyleSecureError
from fedstyle_secure.secure_aggregation.encoding import decode
from fedstyle_secure.secure_aggregation.quorum import Quorum
from fedstyle_secure.secure_aggregation.wire import Label
from tests.secure_attacks import MASK, SELF, Coalition, bytes_in, reachable
from tests.secure_sums import MODEL, World, exact_sum, make_settings, make_vectors

NAMES = ("ana", "ben", "cem", "dia", "eli")
LENGTH = 50
SETTINGS = make_settings(LENGTH, cohort_cap=5)
LABEL = Label("train", 1, MODEL, 0, 1)
QUORUM = Quorum(minimum=3, colluding=1)  # four of five must be there


def honest(coalition: Coalition) -> list[str]:
    return [name for name in coalition.sharers if name not in coalition.names]


# What the coalition can reconstruct

SUMS = [
    ((), {}),
    (("ana",), {}),
    (("eli",), {"upload": ["ben"]}),
    (("cem",), {"confirm": ["ben"]}),
    (("ana",), {"unmask": ["ben"]}),
]


@pytest.mark.parametrize(("colluding", "silent"), SUMS)
def test_of_each_seed_pair_the_coalition_gets_what_the_sum_needs(colluding, silent) -> None:
    coalition = Coalition(World.of(NAMES, quorum=QUORUM, slots=3).set_up(), colluding)
    for name in honest(coalition):
        for slot in range(3):
            assert coalition.seed(name, slot, SELF) is None
            assert coalition.seed(name, slot, MASK) is None
    run = coalition.world.sum(make_vectors(NAMES, LENGTH), SETTINGS, silent=silent)
    uploaded = run.sent["upload"]
    coalition.learn(run.sent["unmask"].values(), coalition.survivors(LABEL, uploaded))
    for name in honest(coalition):
        assert (coalition.seed(name, 1, SELF) is None) == (name not in uploaded)
        assert (coalition.seed(name, 1, MASK) is None) == (name in uploaded)
        for slot in (0, 2):
            assert coalition.seed(name, slot, SELF) is None
            assert coalition.seed(name, slot, MASK) is None


@pytest.mark.parametrize(("helpers", "enough"), [(NAMES[:3], False), (NAMES[:4], True)])
def test_as_many_helpers_as_the_threshold_reconstruct_everything(helpers, enough: bool) -> None:
    """The control: far more helpers than `colluding` states are needed to do without the protocol."""
    coalition = Coalition(World.of(NAMES, quorum=QUORUM, slots=1).set_up(), helpers)
    assert coalition.world.threshold == 4
    for kind in (SELF, MASK):
        assert (coalition.seed("eli", 0, kind) is not None) == enough


@pytest.mark.parametrize(("colluding", "silent"), SUMS[1:])
def test_the_coalition_computes_the_honest_sum(colluding, silent) -> None:
    coalition = Coalition(World.of(NAMES, quorum=QUORUM, slots=3).set_up(), colluding)
    vectors = make_vectors(NAMES, LENGTH)
    run = coalition.world.sum(vectors, SETTINGS, silent=silent)
    uploaded = run.sent["upload"]
    coalition.learn(run.sent["unmask"].values(), coalition.survivors(LABEL, uploaded))
    names = [name for name in honest(coalition) if name in uploaded]
    residue = coalition.residue([uploaded[name] for name in names], SETTINGS)
    found = coalition.values(residue, SETTINGS, clients=len(names))
    np.testing.assert_array_equal(found, exact_sum(vectors, SETTINGS, names))


# What nobody keeps


def test_seeds_and_shares_are_forgotten_when_they_are_used() -> None:
    world = World.of(NAMES, quorum=QUORUM, slots=3).set_up()
    members = {name: client._membership for name, client in world.clients.items()}

    def kept(name: str, slot: int) -> tuple[bool, bool]:
        own, held = members[name].own, members[name].held
        return bool(own._seeds[slot].any()), any(bool(s[slot].any()) for s in held.shares.values())

    uploads = world.upload(make_vectors(NAMES, LENGTH), SETTINGS)
    assert {kept(name, 1) for name in NAMES} == {(False, True)}
    signed = world.handle("confirm", world.confirm(world.handle("upload", uploads)))
    shares = world.unmask({name: signed[name] for name in NAMES[1:]})
    assert {kept(name, 1) for name in NAMES[1:]} == {(False, False)}
    assert kept("ana", 1) == (False, True)
    sums = world.handle("unmask", shares)
    world.open(sums)
    assert {kept(name, 1) for name in NAMES} == {(False, False)}
    for slot in (0, 2):
        assert {kept(name, slot) for name in NAMES} == {(True, True)}


def secrets_of(world: World) -> dict[str, bytes]:
    """What the aggregator must not have, and no message may hold, by name."""
    found = {}
    for name, client in world.clients.items():
        membership = client._membership
        found |= {
            f"{name}'s identity": world.identities[name]._private_key.private_bytes_raw(),
            "decryption key": membership.key.to_bytes(),
            "group secret": membership.group_secret,
        }
        for slot, (mask_seed, self_seed) in enumerate(membership.own._seeds):
            found |= {f"{name}'s mask seed {slot}": mask_seed.tobytes()}
            found |= {f"{name}'s self seed {slot}": self_seed.tobytes()}
        for owner, shares in membership.held.shares.items():
            found |= {f"{name}'s shares of {owner}": shares[0, 0].tobytes()}
    assert all(any(secret) and len(secret) == 32 for secret in found.values())
    return found


def test_neither_the_aggregator_nor_a_message_holds_a_secret() -> None:
    """Searched byte by byte, with controls: it does find what is there."""
    world = World.of(NAMES, quorum=QUORUM, slots=3).set_up()
    hidden = secrets_of(world)
    vectors = make_vectors(NAMES, LENGTH)
    uploads = world.upload(vectors, SETTINGS)
    signed = world.handle("confirm", world.confirm(world.handle("upload", uploads)))
    shares = world.unmask(signed)
    for message in shares.values():
        world.aggregator.receive(message)
    kept, sent = bytes_in(world.aggregator), b"|".join([*world.received, *shares.values()])
    for vector in vectors.values():
        for width in (np.float64, np.float32):
            assert vector[:4].astype(width).tobytes() not in kept + sent
    for name, secret in hidden.items():
        for encoded in (secret, secret[::-1], secret.hex().encode()):
            assert encoded not in kept, name
            assert encoded not in sent, name
    advertised = world.aggregator._setup.directory.advertised["ana"]
    assert advertised.session_key in kept
    assert advertised.session_key in sent
    assert b"".join(world.clients["ana"]._membership.own.mask_keys) in sent
    assert hidden["decryption key"] in bytes_in(world.clients["ana"])


# What nobody shows


def test_no_error_or_repr_shows_a_secret_or_a_value() -> None:
    """Provokes refusals of every kind and looks for secrets in what they say."""
    world = World.of(NAMES, quorum=QUORUM, slots=3).set_up()
    marker = 0.123456789
    vectors = {name: np.full(10, marker) for name in NAMES}
    settings = make_settings(10, cohort_cap=5)
    hidden = list(secrets_of(world).values())
    said: list[str] = []

    def provoke(call, *arguments, **keywords) -> None:
        with pytest.raises(FedStyleSecureError) as caught:
            call(*arguments, **keywords)
        said.extend([str(caught.value), repr(caught.value), caught.value.message, caught.value.fix])

    ana, aggregator = world.clients["ana"], world.aggregator
    uploads = world.upload(vectors, settings)
    provoke(world.upload, vectors, settings)
    provoke(world.upload, {name: np.full(10, np.nan) for name in NAMES}, settings, round_number=2)
    provoke(world.upload, vectors, make_settings(11, cohort_cap=5), round_number=2)
    provoke(world.upload, vectors, settings, round_number=2, slot=3)
    for read in (ana.share, ana.agree, ana.accept, ana.confirm, ana.unmask, ana.open, aggregator.receive):
        for message in (uploads["ana"][:-1] + b"x", b"nonsense", b""):
            provoke(read, message)
    provoke(aggregator.open, uploads["ana"])
    listed = world.handle("upload", uploads)
    signed = world.handle("confirm", world.confirm(listed))
    shares = world.unmask(signed)
    provoke(ana.unmask, signed["ana"][:-1] + b"x")
    (total, *_) = world.handle("unmask", shares).values()
    provoke(ana.open, total[:-1] + b"x")
    for root in (world.clients, world.aggregator, world.identities, world.roster, world.session):
        for part in reachable(root):
            if type(part).__module__.startswith("fedstyle_secure"):
                said.append(repr(part))
    text = "\n".join(said)
    assert "hidden" in text
    assert "0.1234" not in text
    for secret in hidden:
        for shown in (secret[:6].hex(), repr(secret[:6])[2:-1], str(list(secret[:4]))[1:-1]):
            assert shown not in text


def test_no_secret_can_be_pickled_or_copied() -> None:
    """Whatever the package keeps that holds a secret refuses; so does all that holds it."""
    world = World.of(NAMES, quorum=QUORUM, slots=3).set_up()
    hidden = secrets_of(world)
    world.advertise(["ana"], epoch=1)
    world.upload(make_vectors(["ana"], LENGTH), SETTINGS)
    checked = set()
    for part in reachable([world.clients["ana"], world.identities["ana"]]):
        held = bytes_in(part)
        if type(part).__module__.startswith("fedstyle_secure") and any(s in held for s in hidden.values()):
            for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match="cannot be pickled"):
                    attempt(part)
            checked.add(type(part).__name__)
    assert checked >= {
        "SumClient",
        "Membership",
        "HeldShares",
        "SlotSecrets",
        "BfvKey",
        "ClientSum",
        "Protector",
    }


def test_a_sum_is_the_clients_alone() -> None:
    world = World.of(NAMES, quorum=QUORUM, slots=3).set_up()
    vectors = make_vectors(NAMES, LENGTH)
    run = world.sum(vectors, SETTINGS)
    with pytest.raises(FedStyleSecureError, match="no decryption key"):
        world.aggregator.open(run.answers["unmask"]["ana"])
    total = decode(run.total, SETTINGS)
    assert total[:4].tobytes() not in bytes_in(world.aggregator)
