"""A malicious aggregator, and the clients that help it, with all that they can compute from what they saw.

Nothing here asks an honest party for more than it says: uploads and revealed shares are read from messages,
secrets from the colluding clients alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.stats import chisquare

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.secure_aggregation.client_sets import write_clients
from fedstyle_secure.secure_aggregation.directory import Directory
from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.encryption import BfvKey, KeyHolder, SealedSum
from fedstyle_secure.secure_aggregation.frames import UploadFrame, write_sum_block, write_sum_head
from fedstyle_secure.secure_aggregation.key_derivation import derive_key
from fedstyle_secure.secure_aggregation.keys import SIGNATURE_BYTES, Identity
from fedstyle_secure.secure_aggregation.masking import MaskContext, StreamMask, mask_sum
from fedstyle_secure.secure_aggregation.packing import Layout, unpack
from fedstyle_secure.secure_aggregation.running_sum import RunningSum
from fedstyle_secure.secure_aggregation.secret_sharing import combine
from fedstyle_secure.secure_aggregation.setup_relay import SetupRelay
from fedstyle_secure.secure_aggregation.slot_secrets import mask_key
from fedstyle_secure.secure_aggregation.statement import Statement
from fedstyle_secure.secure_aggregation.sum_messages import SurvivorList, read_unmasking
from fedstyle_secure.secure_aggregation.wire import (
    Label,
    MessageKind,
    Session,
    read_from_client,
    write_as_aggregator,
)
from tests.secure_sums import World

MASK, SELF = 0, 1
"""The two seeds of a slot."""

_ENOUGH = 10**8


def refusal(call: Callable[..., object], *arguments: object) -> ProtocolError:
    """The refusal that a call must end in. It says what was wrong and what to do."""
    with pytest.raises(ProtocolError) as caught:
        call(*arguments)
    assert caught.value.message
    assert caught.value.fix
    return caught.value


def refused(call: Callable[..., object], *arguments: object) -> ErrorCode:
    """The code of the refusal that a call must end in."""
    return refusal(call, *arguments).code


def has_revealed(world: World, name: str, *, slot: int) -> bool:
    """Whether a client has given its shares of a slot away; what it has revealed it forgets."""
    shares = world.clients[name]._membership.held.shares.values()
    return not any(share[slot].any() for share in shares)


def reachable(root: object) -> Iterator[object]:
    """Everything that hangs on an object: attributes, items, what closures hold."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, type):
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, dict):
            waiting += [*found.keys(), *found.values()]
        elif isinstance(found, (list, tuple, set, frozenset)):
            waiting += found
        elif not isinstance(found, (str, bytes, bytearray, int, float, np.ndarray)):
            waiting += list(getattr(found, "__dict__", {}).values())
            waiting += [cell.cell_contents for cell in getattr(found, "__closure__", None) or ()]
            waiting.append(getattr(found, "__self__", None))


def bytes_in(root: object) -> bytes:
    """All bytes that hang on an object, one after the other."""
    parts = []
    for found in reachable(root):
        if isinstance(found, (bytes, bytearray)):
            parts.append(bytes(found))
        elif isinstance(found, np.ndarray):
            parts.append(found.tobytes())
    return b"|".join(parts)


def take_shares(world: World, *, epoch: int = 0) -> SetupRelay:
    """Run a set-up up to the boxes, for an aggregator that then hands them out as it likes."""
    if epoch:
        world.aggregator.begin_setup(epoch)
    relay = world.aggregator._setup
    for message in world.share(world.handle("advertise", world.advertise(epoch=epoch))).values():
        relay.receive_shares(message)
    return relay


def signature(statement: Statement, identity: Identity) -> bytes:
    """A signature under any statement, as a colluding client gives it."""
    return statement.sign(identity)[-SIGNATURE_BYTES:]


def signatures_of(messages: Mapping[str, bytes]) -> dict[str, bytes]:
    """The signatures of clients' messages."""
    return {name: message[-SIGNATURE_BYTES:] for name, message in messages.items()}


def write_signatures(statement: Statement, signatures: Mapping[str, bytes]) -> bytes:
    """A rightly formed message with any signatures in it, however few."""
    session = statement.session
    ordered = [signatures[client] for client in session.roster if client in signatures]
    payload = [write_clients(session, signatures), *ordered]
    return write_as_aggregator(statement.answer_kind, payload, session=session, label=statement.label)


def read_upload(message: bytes, session: Session) -> tuple[Label, UploadFrame]:
    """Which sum an upload is for, and its ciphertexts, ready to be added once."""
    _, read = read_from_client(
        message, kinds=[MessageKind.UPLOAD], session=session, label=None, payload_limit_bytes=_ENOUGH
    )
    return read.label, UploadFrame(read.payload, sender=read.sender)


@dataclass
class Coalition:
    """An aggregator and the clients that help it, after a set-up and before its first sum.

    Args:
        world: the session.
        names: the clients that help; nobody if it is the aggregator alone.
        off: kinds of masks that are switched off in this session, for tests that must fail then.
        group_seeds: group seeds that the colluding clients know, by maker; only `key` needs them.

    Attributes:
        directory: everybody's public keys.
        sharers: who has finished the set-up, as the aggregator knows it.
        own: seeds of the colluding clients, before they are forgotten.
        shares: (owner, slot, which seed) -> holder -> share, as far as it has been seen.
    """

    world: World
    names: Collection[str] = ()
    off: Collection[int] = ()
    group_seeds: dict[str, bytes] = field(default_factory=dict)
    directory: Directory = field(init=False)
    sharers: tuple[str, ...] = field(init=False)
    own: dict[str, np.ndarray] = field(init=False)
    shares: dict[tuple[str, int, int], dict[str, bytes]] = field(init=False)

    def __post_init__(self) -> None:
        relay = self.world.aggregator._setup
        self.directory, self.sharers = relay.directory, relay.sharers
        members = {name: self.world.clients[name]._membership for name in self.names}
        self.own = {name: member.own._seeds.copy() for name, member in members.items()}
        self.shares = {}
        for name, member in members.items():
            for owner, held in member.held.shares.items():
                for slot, both in enumerate(held):
                    for which in (MASK, SELF):
                        self._pool(owner, slot, which, name, both[which].tobytes())

    @property
    def session(self) -> Session:
        return self.world.session

    @property
    def cohort(self) -> bytes:
        return self.directory.cohort_hash(self.sharers)

    def survivors(self, label: Label, names: Iterable[str]) -> SurvivorList:
        """A survivor list as the aggregator would write it."""
        there = set(names)
        ordered = tuple(client for client in self.session.roster if client in there)
        return SurvivorList(self.session, self.cohort, label, ordered)

    # What it learns

    def learn(self, unmaskings: Iterable[bytes], survivors: SurvivorList) -> None:
        """Pool the shares that clients have revealed for a survivor list."""
        held = {
            holder: [
                owner
                for owner in self.sharers
                if owner == holder or holder in self.directory.advertised[owner].neighbours
            ]
            for holder in survivors.clients
        }
        for message in unmaskings:
            sender, shares = read_unmasking(message, survivors=survivors, held=held)
            for owner, share in shares.items():
                which = SELF if owner in survivors.clients else MASK
                self._pool(owner, survivors.label.slot, which, sender, share)

    def _pool(self, owner: str, slot: int, which: int, holder: str, share: bytes) -> None:
        self.shares.setdefault((owner, slot, which), {})[holder] = share

    def seed(self, owner: str, slot: int, which: int) -> bytes | None:
        """A seed, if the coalition has it or enough shares of it."""
        if owner in self.own:
            return self.own[owner][slot, which].tobytes()
        pooled = self.shares.get((owner, slot, which), {})
        holders = self.directory.holders(owner)
        places = [place for place, holder in enumerate(holders) if holder in pooled]
        places = places[: self.directory.plan.threshold]
        if len(places) < self.directory.plan.threshold:
            return None
        rows = np.stack([np.frombuffer(pooled[holders[place]], np.uint8)[np.newaxis] for place in places])
        found = combine(rows, holders=places)[0].tobytes()
        assert which == SELF or mask_key(found) == self.directory.advertised[owner].mask_key(slot)
        return found

    # What it can compute

    def known_masks(
        self, client: str, label: Label, settings: SumSettings, *, sharers: Sequence[str] | None = None
    ) -> list[StreamMask]:
        """Those masks of a client's upload whose keys the coalition can compute.

        `sharers` are those that the client was shown, if they are not the aggregator's.
        """
        shown = self.sharers if sharers is None else sharers
        cohort = self.directory.cohort_hash(shown)
        context = MaskContext(self.session, cohort, label, Layout.of(settings))
        masks = []
        if SELF not in self.off and (own := self.seed(client, label.slot, SELF)) is not None:
            masks.append(context.own_mask(own, client))
        neighbours = () if MASK in self.off else self.directory.neighbours(client, shown)
        for neighbour in neighbours:
            for owner, peer in ((client, neighbour), (neighbour, client)):
                if (seed := self.seed(owner, label.slot, MASK)) is not None:
                    key = self.directory.advertised[peer].mask_key(label.slot)
                    mask = context.pair_mask(seed, key, owner=owner, peer=peer)
                    masks.append(mask if owner == client else StreamMask(mask.key, not mask.adds))
                    break
        return masks

    def key(self, *, sharers: Sequence[str] | None = None) -> BfvKey:
        """The decryption key of a colluding client; with `sharers`, of one who was shown these."""
        assert self.names, "no client helps, so there is no key"
        if sharers is None:
            return self.world.clients[next(iter(self.names))]._membership.key
        maker = next(client for client in sharers if client in self.directory.makers)
        secret, cohort = self.group_seeds[maker], self.directory.cohort_hash(sharers)
        return BfvKey.from_bytes(derive_key(secret, self.session.binding("decryption key", cohort)))

    def residue(
        self, uploads: Sequence[bytes], settings: SumSettings, *, sharers: Sequence[str] | None = None
    ) -> list[np.ndarray]:
        """What is left of the sum of some uploads, block by block.

        They are decrypted with a colluding client's key, and every known mask is taken off.
        """
        layout = Layout.of(settings)
        opener = KeyHolder(layout.parameters, self.key(sharers=sharers))
        masks = []
        for message in uploads:
            label, frame = read_upload(message, self.session)
            masks += self.known_masks(frame.sender, label, settings, sharers=sharers)
        sealed = add_up(uploads, self.session, settings, masks=masks)
        return [opener.decrypt(block) for block in sealed]

    def values(self, residue: Sequence[np.ndarray], settings: SumSettings, *, clients: int) -> np.ndarray:
        """The encoded values in a residue without masks.

        Raises:
            ProtocolError: they are none.
        """
        layout = Layout.of(settings)
        blocks = zip(residue, layout.blocks(), strict=True)
        found = [unpack(words, layout=layout, block=block, clients=clients)[0] for words, block in blocks]
        return np.concatenate(found)


def add_up(
    uploads: Iterable[bytes], session: Session, settings: SumSettings, *, masks: Sequence[StreamMask] = ()
) -> list[SealedSum]:
    """The sum of uploads, each as often as it is given, less some masks: what an aggregator can do."""
    layout = Layout.of(settings)
    total = RunningSum(layout)
    for message in uploads:
        total.add(read_upload(message, session)[1])
        total.clients = 1  # there is always room for one more lie
    sealed = total.sealed_blocks(lambda block: mask_sum(masks, layout=layout, block=block))
    return [SealedSum(block.c0.copy(), block.c1.copy()) for _, block in sealed]


def write_sum(
    sealed: Iterable[SealedSum],
    *,
    session: Session,
    settings: SumSettings,
    label: Label,
    contributed: Collection[str],
) -> bytes:
    """A rightly formed message with any sum in it."""
    layout = Layout.of(settings)
    payload = [write_sum_head(settings, contributed=[client in contributed for client in session.roster])]
    for block in sealed:
        payload += write_sum_block(block, layout)
    return write_as_aggregator(MessageKind.SUM, payload, session=session, label=label)


def least_p_value(residue: Sequence[np.ndarray], plain_bits: int) -> float:
    """The least p-value of chi-square tests for uniformity, one for each byte of the words and of the sums of
    neighbouring words, multiplied by how many there are (Bonferroni)."""
    words = np.concatenate([block.ravel() for block in residue])
    lagged = (words[1:] + words[:-1]) & np.uint64(2**plain_bits - 1)
    shifts = [*range(0, plain_bits - 7, 8), plain_bits - 8]
    p_values = []
    for tested in (words, lagged):
        for shift in shifts:
            counts = np.bincount((tested >> np.uint64(shift)).astype(np.int64) & 255, minlength=256)
            p_values.append(float(chisquare(counts).pvalue))
    return min(1.0, min(p_values) * len(p_values))
