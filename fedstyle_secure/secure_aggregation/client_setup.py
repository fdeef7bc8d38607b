"""A client's side of a set-up: from fresh keys to everything that sums need.

Flows in: other clients' signed public keys and sealed boxes, relayed by an aggregator that is not trusted.
Flows out: this client's; and a `Membership`. Never leaves: private keys and seeds other than as shares in
boxes.

    advertise -> share -> agree -> accept

A step that is refused changes nothing: it can be repeated with the right message.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, final

from fedstyle_secure.secure_aggregation.directory import (
    GROUP_SEED_BYTES,
    Advertised,
    Directory,
    sharing_plan,
)
from fedstyle_secure.secure_aggregation.encryption import BfvKey
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.key_derivation import derive_key
from fedstyle_secure.secure_aggregation.key_exchange import PairSecret, SessionKey, open_box, seal_box
from fedstyle_secure.secure_aggregation.keys import Identity
from fedstyle_secure.secure_aggregation.masking import MaskContext, StreamMask
from fedstyle_secure.secure_aggregation.neighbours import choose_neighbours
from fedstyle_secure.secure_aggregation.packing import Layout
from fedstyle_secure.secure_aggregation.refusals import survivors_inconsistent, unexpected
from fedstyle_secure.secure_aggregation.setup_messages import (
    read_advertisements,
    read_share_delivery,
    write_advertisement,
    write_shares,
)
from fedstyle_secure.secure_aggregation.slot_secrets import HeldShares, SlotSecrets
from fedstyle_secure.secure_aggregation.wire import Label, Session

__all__ = ["ClientSetup", "Membership"]


@final
@dataclass(frozen=True, eq=False)
class Membership:
    """A client's place in a finished set-up. Secret: printing and pickling give nothing away.

    Attributes:
        client_id: this client.
        directory: everybody's public keys.
        sharers: who has finished the set-up, in roster order.
        cohort: hash of all that was agreed on.
        key: the decryption key.
        group_secret: what all clients know and the aggregator does not.
        own: this client's seeds.
        held: the shares of others that it holds.
    """

    client_id: ClientId
    directory: Directory
    sharers: tuple[ClientId, ...]
    cohort: bytes
    key: BfvKey
    group_secret: bytes
    own: SlotSecrets
    held: HeldShares

    def __repr__(self) -> str:
        return f"Membership({self.client_id!r}, set-up {self.directory.epoch}, secrets hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Membership holds secrets and cannot be pickled or copied")

    def masks(self, label: Label, layout: Layout) -> list[StreamMask]:
        """The masks of one upload. For one slot once: its seeds are forgotten.

        Raises:
            ProtocolError: a neighbour's mask key cannot be used.
        """
        mask_seed, self_seed = self.own.take(label.slot)
        context = MaskContext(self.directory.session, self.cohort, label, layout)
        advertised = self.directory.advertised
        return [
            context.own_mask(self_seed, self.client_id),
            *(
                context.pair_mask(
                    mask_seed, advertised[peer].mask_key(label.slot), owner=self.client_id, peer=peer
                )
                for peer in self.directory.neighbours(self.client_id, self.sharers)
            ),
        ]


@final
class ClientSetup:
    """One set-up of one client.

    Args:
        identity: the client's identity. Secret.
        session: the session.
        epoch: number of the set-up; everybody must use the same.
    """

    def __init__(self, *, identity: Identity, session: Session, epoch: int) -> None:
        self._identity = identity
        self._session = session
        self._epoch = epoch
        self._session_key = SessionKey()
        self._own = SlotSecrets(session.slots)
        self._group_seed = os.urandom(GROUP_SEED_BYTES)
        places = session.roster.client_ids
        chosen = choose_neighbours(sharing_plan(session), places.index(identity.client_id))
        self._advertised = Advertised(
            session_key=self._session_key.public_key,
            mask_keys=b"".join(self._own.mask_keys),
            neighbours=frozenset(places[place] for place in chosen),
        )
        self._directory: Directory | None = None
        self._pairs: dict[ClientId, PairSecret] = {}
        self._own_share = b""
        self._membership: Membership | None = None

    def __repr__(self) -> str:
        return f"ClientSetup({self._identity.client_id!r}, set-up {self._epoch}, secrets hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ClientSetup holds secrets and cannot be pickled or copied")

    def advertise(self) -> bytes:
        """This client's public keys, signed."""
        return write_advertisement(
            self._advertised, epoch=self._epoch, session=self._session, identity=self._identity
        )

    def share(self, message: bytes) -> bytes:
        """Check everybody's keys, and seal for each other client what it is to know.

        Raises:
            ProtocolError: too few are there, an advertisement was not signed by the client that it names, or
                this client's own was changed.
        """
        own = self._identity.client_id
        directory = read_advertisements(message, epoch=self._epoch, session=self._session)
        if directory.advertised.get(own) != self._advertised:
            raise unexpected(f"the aggregator leaves out or changes what {own} has advertised")
        pairs = {
            peer: self._session_key.agree(peer, item.session_key)
            for peer, item in directory.advertised.items()
            if peer != own
        }
        holders = directory.holders(own)
        shares = dict(
            zip(
                holders,
                self._own.split(holders=len(holders), threshold=directory.plan.threshold),
                strict=True,
            )
        )
        seed = self._group_seed if own in directory.makers else b""
        boxes = {
            peer: seal_box(
                seed + shares.get(peer, b""),
                pair,
                session=self._session,
                setup=directory.digest,
                sender=own,
                recipient=peer,
            )
            for peer, pair in pairs.items()
            if seed or peer in shares
        }
        self._directory, self._pairs, self._own_share = directory, pairs, shares[own]
        return write_shares(boxes, directory=directory, identity=self._identity)

    def agree(self, message: bytes) -> bytes:
        """Open the boxes of the others, and sign who shares what with whom.

        One cohort is signed in a set-up; the same message again gives the same bytes.

        Raises:
            ProtocolError: too few have shared, this client is left out, or a box was not sealed for this
                client and set-up by the client that it names.
        """
        own = self._identity.client_id
        assert self._directory is not None, "share comes before agree"
        directory = self._directory
        sharers, boxes = read_share_delivery(message, directory=directory, recipient=own)
        if own not in sharers:
            raise unexpected(f"the aggregator leaves out what {own} has shared")
        contents = {
            sender: open_box(
                box,
                self._pairs[sender],
                session=self._session,
                setup=directory.digest,
                sender=sender,
                recipient=own,
            )
            for sender, box in boxes.items()
        }
        group_seed = self._key_seed(directory, sharers, contents)
        held = {
            owner: self._own_share if owner == own else contents[owner][_seed_bytes(directory, owner) :]
            for owner in sharers
            if owner == own or own in directory.advertised[owner].neighbours
        }
        cohort = directory.cohort_hash(sharers)
        if self._membership is not None and self._membership.cohort != cohort:
            raise survivors_inconsistent(f"{own} is shown two cohorts of one set-up; it has signed the first")
        self._membership = Membership(
            client_id=own,
            directory=directory,
            sharers=sharers,
            cohort=cohort,
            key=BfvKey.from_bytes(derive_key(group_seed, self._session.binding("decryption key", cohort))),
            group_secret=derive_key(group_seed, self._session.binding("group secret", cohort)),
            own=self._own,
            held=HeldShares.of(held),
        )
        return directory.agreement(sharers).sign(self._identity)

    def accept(self, message: bytes) -> Membership:
        """Check that enough others have signed the same.

        Raises:
            ProtocolError: too few have.
        """
        assert self._membership is not None, "agree comes before accept"
        self._membership.directory.agreement(self._membership.sharers).require_signatures(message)
        return self._membership

    def _key_seed(
        self, directory: Directory, sharers: Sequence[ClientId], contents: dict[ClientId, bytes]
    ) -> bytes:
        # With threshold clients in the set-up, at least one of the makers has finished it.
        maker = next(client for client in sharers if client in directory.makers)
        if maker == self._identity.client_id:
            return self._group_seed
        return contents[maker][:GROUP_SEED_BYTES]


def _seed_bytes(directory: Directory, sender: ClientId) -> int:
    return GROUP_SEED_BYTES if sender in directory.makers else 0
