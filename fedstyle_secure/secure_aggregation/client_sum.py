"""One sum of one client, from its upload to the opened sum.

Flows in: the aggregator's messages about this sum. Flows out: this client's signature under a survivor list,
the shares that it reveals, the opened sum. Never leaves: both shares of one client, anything under a survivor
list that too few have signed.
"""

from __future__ import annotations

from typing import NoReturn, final

from fedstyle_secure.secure_aggregation.client_setup import Membership
from fedstyle_secure.secure_aggregation.encoding import IntegerSum, SumSettings
from fedstyle_secure.secure_aggregation.frames import SumFrame
from fedstyle_secure.secure_aggregation.framing import ClientId
from fedstyle_secure.secure_aggregation.keys import Identity
from fedstyle_secure.secure_aggregation.protection import Protector
from fedstyle_secure.secure_aggregation.refusals import (
    cohort_incomplete,
    out_of_order,
    survivors_inconsistent,
)
from fedstyle_secure.secure_aggregation.sum_messages import SurvivorList, write_unmasking
from fedstyle_secure.secure_aggregation.wire import Label

__all__ = ["ClientSum"]


@final
class ClientSum:
    """An upload whose sum has not been opened yet, and how far it has come.

    Args:
        label: which sum.
        settings: public constants of the sum.
        membership: the set-up that it was uploaded under.
        protector: opens sums of that set-up.
    """

    def __init__(
        self, *, label: Label, settings: SumSettings, membership: Membership, protector: Protector
    ) -> None:
        self.label = label
        self.settings = settings
        self.membership = membership
        self._protector = protector
        self._confirmed: SurvivorList | None = None
        self._unmasking: bytes | None = None

    def __repr__(self) -> str:
        return f"ClientSum({self.label}, secrets hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ClientSum holds secrets and cannot be pickled or copied")

    def confirm(self, clients: tuple[ClientId, ...], identity: Identity) -> bytes:
        """Sign a survivor list; the same one again gives the same bytes.

        Raises:
            ProtocolError: it is not one that an honest client acts upon.
        """
        survivors = self._acceptable(clients)
        self._confirmed = survivors
        return survivors.statement.sign(identity)

    def unmask(self, message: bytes, identity: Identity) -> bytes:
        """Check the signatures of the others, and reveal one share of each client.

        Raises:
            ProtocolError: nothing was confirmed yet, or too few have signed the list that was.
        """
        if self._confirmed is None:
            raise out_of_order(f"nobody has asked who is in the sum of {self.label}, or got a signature")
        self._confirmed.statement.require_signatures(message)
        if self._unmasking is None:
            held = self.membership.held
            shares = held.reveal(self.label.slot, survivors=self._confirmed.clients)
            self._unmasking = write_unmasking(shares, survivors=self._confirmed, identity=identity)
        return self._unmasking

    def require_survivors(self, frame: SumFrame) -> SurvivorList:
        """Whose sum a frame is said to be.

        Raises:
            ProtocolError: it is not one that this client has confirmed, or would.
        """
        roster = self.membership.directory.session.roster
        there = zip(roster, frame.contributed, strict=True)
        return self._acceptable(tuple(client for client, contributed in there if contributed))

    def open(self, frame: SumFrame, survivors: SurvivorList) -> IntegerSum:
        """Decrypt a sum and check that it is the survivors'.

        Raises:
            ProtocolError: the sum does not add up.
        """
        total = self._protector.open(
            frame, settings=self.settings, label=self.label, survivors=survivors.clients
        )
        self.membership.held.forget(self.label.slot)
        return total

    def _acceptable(self, clients: tuple[ClientId, ...]) -> SurvivorList:
        """The survivor list, if an honest client may act upon it."""
        membership, own = self.membership, self.membership.client_id
        session = membership.directory.session
        if own not in clients:
            raise survivors_inconsistent(
                f"the survivor list of {self.label} leaves out {own}, who has uploaded"
            )
        if not set(clients) <= set(membership.sharers):
            raise survivors_inconsistent(
                f"the survivor list of {self.label} names a client who has not finished the set-up"
            )
        self._require(clients, session.roster.client_ids, session.threshold, "")
        # A list with too few of this client's own neighbours could separate it from the others (see
        # `SharingPlan`), and its seeds could not be reconstructed.
        holders = membership.directory.holders(own)
        self._require(
            clients, holders, membership.directory.plan.threshold, f" among the neighbours of {own}"
        )
        survivors = SurvivorList(session, membership.cohort, self.label, clients)
        if self._confirmed not in (None, survivors):
            raise survivors_inconsistent(
                f"{own} is shown two survivor lists for {self.label}; it has confirmed the first"
            )
        return survivors

    def _require(
        self, clients: tuple[ClientId, ...], among: tuple[ClientId, ...], needed: int, where: str
    ) -> None:
        there = set(clients)
        present = [client for client in among if client in there]
        if len(present) < needed:
            missing = [client for client in among if client not in there]
            what = f"the sum of {self.label}{where}"
            raise cohort_incomplete(missing, what, present=len(present), needed=needed)
