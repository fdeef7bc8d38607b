"""One artist's side of the run.

Flows in: the artist's own features (they never leave this object) and opened sums. Flows out: clipped,
noised releases and their encryptions. This is the only module in which private features meet the protocol.
"""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fedstyle_secure.federation.global_state import FEATURE_NORM_BOUND, GlobalState
from fedstyle_secure.federation.run_plan import Exchange, RunPlan, Stage
from fedstyle_secure.privacy.noise import NoiseSource
from fedstyle_secure.privacy.plan import ReleaseMeter
from fedstyle_secure.privacy.release import noisy_sum, noisy_sum_and_count, release_sum
from fedstyle_secure.privacy.training import PerExampleGradient, PerExampleLoss
from fedstyle_secure.secure_aggregation.client import SumClient
from fedstyle_secure.secure_aggregation.encoding import decode
from fedstyle_secure.secure_aggregation.vectors import ClippedUpdate
from fedstyle_secure.style.embedding import unit_rows
from fedstyle_secure.style.head import StyleHead
from fedstyle_secure.style.loss import anchor_loss

__all__ = ["Artist"]


@final
class Artist:
    """Holds one artist's features, clips and noises what is computed from them, and encrypts it.

    Args:
        name: name on the roster.
        features: projected public-encoder features of the artist's works.
        plan: the run's public constants.
        client: the artist's end of the secure sum.
        noise: where noise comes from; the operating system, except in evaluations that are thrown away.
        meter: refuses releases past the plan.

    Guarantees:
        With system noise, the sequence of everything that `release` returns is (epsilon,
        delta)-differentially private with respect to one artwork of this artist, against everybody who sees
        it, with the plan's epsilon and delta.
    """

    def __init__(
        self,
        *,
        name: str,
        features: Float[np.ndarray, "artworks embedding"],
        plan: RunPlan,
        client: SumClient,
        noise: NoiseSource,
        meter: ReleaseMeter,
    ) -> None:
        self.name = name
        self.client = client
        self._place = plan.artists.index(name)
        self._features = features
        self._plan = plan
        self._noise = noise
        self._meter = meter
        self._clip_norm_l2 = plan.policy.privacy.clip_norm_l2
        self._head = StyleHead(plan.embedding_size)
        self._gradient = PerExampleGradient(self._head, clip_norm_l2=self._clip_norm_l2)
        # One function object for the whole run: the check that a loss does not couple artworks is made once
        # for each.
        self._artwork_loss: PerExampleLoss = self._loss_against_anchors
        self._released_anchors: Float[Tensor, "artists embedding"]
        self._mapped_anchors: Float[Tensor, "artists embedding"]

    def __repr__(self) -> str:
        return f"Artist({self.name!r})"

    def release(self, exchange: Exchange, state: GlobalState) -> Float[np.ndarray, " values"]:
        """Compute, clip and noise this artist's contribution to an exchange. Call it once for each exchange.

        Args:
            exchange: what to contribute to.
            state: the released state that everybody shares.

        Returns:
            The noised sum over this artist's works; safe to be seen by anybody.

        Raises:
            BudgetError: the plan has no such release left.
        """
        self._meter.reserve(exchange.stage)
        match exchange.stage:
            case Stage.CENTRE:
                return self._centre_release()
            case Stage.ANCHORS | Stage.REPRESENT:
                return self._prototype_release(exchange.stage, state)
            case Stage.TRAIN:
                return self._gradient_release(state)

    def protect(
        self, exchange: Exchange, release: Float[np.ndarray, " values"], state: GlobalState, *, slot: int
    ) -> bytes:
        """Encode, mask, encrypt and sign a release for the wire."""
        return self.client.upload(
            ClippedUpdate(release),
            settings=self._plan.sum_settings(exchange.stage),
            slot=slot,
            stage=exchange.stage,
            round_number=exchange.round_number,
            model_hash=state.fingerprint(self._plan),
        )

    def open(self, exchange: Exchange, message: bytes) -> Float[np.ndarray, " values"]:
        """Check and decrypt the sum that the aggregator sent back."""
        return decode(self.client.open(message), self._plan.sum_settings(exchange.stage))

    def _centre_release(self) -> Float[np.ndarray, " values"]:
        return noisy_sum_and_count(
            self._features,
            row_norm_l2=FEATURE_NORM_BOUND,
            clip_norm_l2=self._clip_norm_l2,
            noise_multiplier=self._plan.budget.noise_multiplier(Stage.CENTRE),
            noise=self._noise,
        )

    def _prototype_release(self, stage: Stage, state: GlobalState) -> Float[np.ndarray, " values"]:
        prototype = noisy_sum(
            state.embed(self._features) * self._clip_norm_l2,
            clip_norm_l2=self._clip_norm_l2,
            noise_multiplier=self._plan.budget.noise_multiplier(stage),
            noise=self._noise,
        )
        # Every artist has a place of its own in one long vector, so that prototypes too reach the others
        # only through the secure sum, and the aggregator sees none of them.
        places = np.zeros((len(self._plan.artists), prototype.size))
        places[self._place] = prototype
        return places.ravel()

    def _gradient_release(self, state: GlobalState) -> Float[np.ndarray, " values"]:
        with torch.no_grad():
            self._head.linear.weight.copy_(torch.as_tensor(state.head_weight))
        self._released_anchors = torch.as_tensor(state.released_anchors())
        self._mapped_anchors = torch.as_tensor(unit_rows(state.released_anchors() @ state.head_weight.T))
        clipped = self._gradient.clipped_sum(
            self._artwork_loss, torch.as_tensor(state.centred(self._features))
        )
        return release_sum(
            clipped, noise_multiplier=self._plan.budget.noise_multiplier(Stage.TRAIN), noise=self._noise
        )

    def _loss_against_anchors(
        self, embeddings: Float[Tensor, "artworks embedding"]
    ) -> Float[Tensor, " artworks"]:
        """Each artwork against what has been released and is constant in this round.

        It is contrasted with the artists' anchors as the present head maps them, and aligned with the
        representation of its artist that everybody was given before training, so that the space does not
        drift away from it.
        """
        training = self._plan.policy.training
        mapped = self._mapped_anchors
        return anchor_loss(
            embeddings,
            own_anchor=mapped[self._place],
            other_anchors=torch.cat([mapped[: self._place], mapped[self._place + 1 :]]),
            server_representation=self._released_anchors[self._place],
            temperature=training.temperature,
            alignment_weight=training.alignment,
        )
