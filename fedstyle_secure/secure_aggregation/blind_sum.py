"""The aggregator's side of one sum: adds uploads one by one, then takes the masks off.

Flows in: uploads, signatures under the survivor list, revealed shares. Flows out: the survivor list, all
signatures, the sealed sum. Never seen here: a decryption key, a plaintext. What is reconstructed here opens
masks of this slot alone, and of each client only one of its two seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import final

import numpy as np

from fedstyle_secure.secure_aggregation.client_sets import require_threshold
from fedstyle_secure.secure_aggregation.directory import Directory
from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.frames import UploadFrame, write_sum_block, write_sum_head
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.inbox import Inbox
from fedstyle_secure.secure_aggregation.masking import MaskContext, StreamMask, mask_sum
from fedstyle_secure.secure_aggregation.packing import Layout
from fedstyle_secure.secure_aggregation.refusals import cohort_incomplete, malformed, unexpected
from fedstyle_secure.secure_aggregation.running_sum import RunningSum
from fedstyle_secure.secure_aggregation.secret_sharing import SECRET_BYTES, combine
from fedstyle_secure.secure_aggregation.slot_secrets import mask_key
from fedstyle_secure.secure_aggregation.sum_messages import (
    SurvivorList,
    read_unmasking,
    write_survivors,
)
from fedstyle_secure.secure_aggregation.wire import Label, Message, MessageKind, Session, write_as_aggregator

__all__ = ["BlindSum"]


@final
class BlindSum:
    """One sum, from its first upload on.

    Args:
        session: the session.
        directory: public keys of the set-up that the sum is made under.
        sharers: who has finished that set-up.
        label: which sum, as the first upload says.
        settings: its public constants, as the first upload says.
    """

    def __init__(
        self,
        *,
        session: Session,
        directory: Directory,
        sharers: Sequence[ClientId],
        label: Label,
        settings: SumSettings,
    ) -> None:
        self.label = label
        self._session = session
        self._directory = directory
        self._sharers = tuple(sharers)
        self._settings = settings
        self._layout = Layout.of(settings)
        self._running = RunningSum(self._layout)
        self._uploaded = Inbox("uploads")
        self._contributors: list[ClientId] = []
        self._confirmed = Inbox("confirms")
        self._signatures: dict[ClientId, bytes] = {}
        self._survivors: SurvivorList | None = None
        self._held: dict[ClientId, list[ClientId]] = {}
        self._unmasked = Inbox("unmasks")
        self._shares: dict[ClientId, dict[ClientId, bytes]] = {}

    def add(self, upload: Message, frame: UploadFrame, data: bytes) -> None:
        """Add an upload whose signature has been checked.

        Raises:
            ProtocolError: it is for another sum, or its sender has not finished the set-up.
        """
        sender = upload.sender
        if upload.label != self.label:
            same_place = upload.label.place == self.label.place
            what = "another model, set-up or slot" if same_place else f"{upload.label}"
            raise unexpected(f"{sender} uploads for {what} while the sum is that of {self.label}")
        if frame.settings != self._settings:
            raise unexpected(f"{sender} uploads under other settings than those of the sum")
        if sender not in self._sharers:
            raise unexpected(f"{sender} uploads and has not finished the set-up")
        if self._uploaded.is_new(sender, data):
            self._running.add(frame)  # refuses before it changes anything; the frame was checked as a whole
            self._contributors.append(sender)

    def answer_upload(self) -> dict[ClientId, bytes]:
        """The survivor list.

        Raises:
            ProtocolError: COHORT_INCOMPLETE.
        """
        there = set(self._contributors)
        survivors = SurvivorList(
            self._session,
            self._directory.cohort_hash(self._sharers),
            self.label,
            tuple(client for client in self._session.roster if client in there),
        )
        require_threshold(self._session, survivors.clients, f"the sum of {self.label}")
        self._survivors = survivors
        self._held = {
            holder: [
                owner
                for owner in self._sharers
                if owner == holder or holder in self._directory.advertised[owner].neighbours
            ]
            for holder in survivors.clients
        }
        return dict.fromkeys(survivors.clients, write_survivors(survivors))

    def receive_confirmation(self, message: bytes) -> ClientId:
        """Take a signature under the survivor list."""
        sender, signature = self._agreed().statement.read_signed(message)
        if self._confirmed.is_new(sender, message):
            self._signatures[sender] = signature
        return sender

    def answer_confirm(self) -> dict[ClientId, bytes]:
        """All signatures.

        Raises:
            ProtocolError: COHORT_INCOMPLETE.
        """
        survivors = self._agreed()
        return dict.fromkeys(survivors.clients, survivors.statement.write_signatures(self._signatures))

    def receive_unmasking(self, message: bytes) -> ClientId:
        """Take the shares that a client reveals."""
        sender, shares = read_unmasking(message, survivors=self._agreed(), held=self._held)
        if self._unmasked.is_new(sender, message):
            self._shares[sender] = shares
        return sender

    def answer_unmask(self) -> dict[ClientId, bytes]:
        """The sealed sum, without masks.

        Raises:
            ProtocolError: COHORT_INCOMPLETE if there are too few shares of some seed; MESSAGE_MALFORMED if
                shares of a mask key do not fit the public one.
        """
        survivors = self._agreed()
        masks = self._masks_left(survivors)
        there = set(survivors.clients)
        payload = [
            write_sum_head(self._settings, contributed=[client in there for client in self._session.roster])
        ]
        blocks = self._running.sealed_blocks(lambda block: mask_sum(masks, layout=self._layout, block=block))
        for _, sealed in blocks:
            payload += write_sum_block(sealed, self._layout)
        answer = write_as_aggregator(MessageKind.SUM, payload, session=self._session, label=self.label)
        return dict.fromkeys(survivors.clients, answer)

    def _agreed(self) -> SurvivorList:
        assert self._survivors is not None, "answer_upload comes first"
        return self._survivors

    def _masks_left(self, survivors: SurvivorList) -> list[StreamMask]:
        """Every mask in the sum of the uploads that no other one cancels."""
        alive, advertised = survivors.clients, self._directory.advertised
        context = MaskContext(self._session, survivors.cohort, self.label, self._layout)
        dropped = [
            client
            for client in self._sharers
            if client not in alive and self._directory.neighbours(client, alive)
        ]
        seeds = self._reconstruct([*alive, *dropped])
        masks = [context.own_mask(seeds[client], client) for client in alive]
        for client in dropped:
            if mask_key(seeds[client]) != advertised[client].mask_key(self.label.slot):
                raise malformed(
                    f"the shares of the mask key of {client} do not fit; somebody sent a wrong one"
                )
            for peer in self._directory.neighbours(client, alive):
                peer_key = advertised[peer].mask_key(self.label.slot)
                mask = context.pair_mask(seeds[client], peer_key, owner=client, peer=peer)
                masks.append(StreamMask(mask.key, not mask.adds))  # the survivor's side of it
        return masks

    def _reconstruct(self, owners: Iterable[ClientId]) -> dict[ClientId, bytes]:
        """The seed of each client of which shares were revealed."""
        needed = self._directory.plan.threshold
        # Clients whose shares lie with the same holders are reconstructed in one go.
        groups: dict[tuple[int, ...], list[tuple[ClientId, list[bytes]]]] = defaultdict(list)
        for owner in owners:
            holders = self._directory.holders(owner)
            there = [place for place, holder in enumerate(holders) if holder in self._shares][:needed]
            if len(there) < needed:
                missing = [holder for holder in holders if holder not in self._shares]
                what = f"unmasking the sum of {self.label}"
                raise cohort_incomplete(missing, what, present=len(there), needed=needed)
            shares = [self._shares[holders[place]][owner] for place in there]
            groups[tuple(there)].append((owner, shares))
        seeds: dict[ClientId, bytes] = {}
        for places, members in groups.items():
            by_holder = zip(*(shares for _, shares in members), strict=True)
            joined = b"".join(share for column in by_holder for share in column)
            shape = (len(places), len(members), SECRET_BYTES)
            combined = combine(np.frombuffer(joined, np.uint8).reshape(shape), holders=places)
            seeds |= {owner: seed.tobytes() for (owner, _), seed in zip(members, combined, strict=True)}
        return seeds
