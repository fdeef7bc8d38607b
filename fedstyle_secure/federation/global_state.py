"""What everybody knows after each exchange: the centre, the anchors, the head, the prototypes.

Flows in: opened sums, which are released (clipped, noised) numbers. Flows out: the next state, the same on
every artist's machine, since all of them apply the same arithmetic to the same integers. Never seen here: one
artist's own numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from fedstyle_secure.federation.run_plan import Exchange, RunPlan, Stage
from fedstyle_secure.privacy.release import estimate_mean, merge_by_inverse_variance
from fedstyle_secure.style.embedding import centred_directions, style_embeddings, unit_rows

__all__ = ["FEATURE_NORM_BOUND", "GlobalState"]

# Public bound on the length of one artwork's projected features when their mean is taken. The projection
# scales public features to a root-mean-square length of 1, so few works are longer than this.
FEATURE_NORM_BOUND = 1.5


@dataclass(frozen=True)
class GlobalState:
    """The released state of a run.

    Attributes:
        centre: estimated mean of all artworks' public features.
        count: estimated number of artworks, from the same noisy release.
        anchors: each artist's first prototype, in the space before the head; None before that stage.
        head_weight: matrix of the style head, identity at the start.
        momentum: running sum of the head's updates.
        prototypes: each artist's final prototype, unit length; None before the last stage.
    """

    centre: Float[np.ndarray, " embedding"]
    count: float
    anchors: Float[np.ndarray, "artists embedding"] | None
    head_weight: Float[np.ndarray, "embedding embedding"]
    momentum: Float[np.ndarray, "embedding embedding"]
    prototypes: Float[np.ndarray, "artists embedding"] | None

    @classmethod
    def initial(cls, plan: RunPlan) -> GlobalState:
        """The public state before the first exchange."""
        size = plan.embedding_size
        return cls(
            centre=np.zeros(size),
            count=float(_smallest_count(plan)),
            anchors=None,
            head_weight=np.eye(size),
            momentum=np.zeros((size, size)),
            prototypes=None,
        )

    def arrays(self) -> dict[str, Float[np.ndarray, ...]]:
        """The state as named arrays, for storage."""
        named = {
            "centre": self.centre,
            "count": np.array([self.count]),
            "anchors": self.anchors,
            "head_weight": self.head_weight,
            "momentum": self.momentum,
            "prototypes": self.prototypes,
        }
        return {name: array for name, array in named.items() if array is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Float[np.ndarray, ...]]) -> GlobalState:
        """The inverse of `arrays`."""
        return cls(
            centre=arrays["centre"],
            count=float(arrays["count"][0]),
            anchors=arrays.get("anchors"),
            head_weight=arrays["head_weight"],
            momentum=arrays["momentum"],
            prototypes=arrays.get("prototypes"),
        )

    def fingerprint(self, plan: RunPlan) -> bytes:
        """SHA-256 of the state and the public model under it.

        Artists put it into every upload, so that updates of different models are never added.
        """
        digest = hashlib.sha256(plan.public_model.encode())
        for name, array in sorted(self.arrays().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return digest.digest()

    def after(
        self, exchange: Exchange, total: Float[np.ndarray, " values"], plan: RunPlan, *, noised: bool
    ) -> GlobalState:
        """The state after an exchange.

        Args:
            exchange: what the sum is of.
            total: the opened sum over all artists, decoded.
            plan: the run's public constants.
            noised: whether the releases carry the plan's noise; without it, nothing is shrunk on its account.

        Returns:
            The next state.
        """
        match exchange.stage:
            case Stage.CENTRE:
                return self._with_centre(total, plan, noised=noised)
            case Stage.ANCHORS:
                return replace(self, anchors=total.reshape(len(plan.artists), -1))
            case Stage.TRAIN:
                return self._with_step(total.reshape(self.head_weight.shape), plan)
            case Stage.REPRESENT:
                return self._with_prototypes(total.reshape(len(plan.artists), -1), plan)

    def centred(
        self, features: Float[np.ndarray, "artworks embedding"]
    ) -> Float[np.ndarray, "artworks embedding"]:
        """Unit directions of features as seen from the released centre: what the head is applied to."""
        return centred_directions(features, centre=self.centre)

    def embed(
        self, features: Float[np.ndarray, "artworks embedding"]
    ) -> Float[np.ndarray, "artworks embedding"]:
        """Style embeddings under the released centre and head, unit length."""
        return style_embeddings(features, centre=self.centre, head_weight=self.head_weight)

    def released_anchors(self) -> Float[np.ndarray, "artists embedding"]:
        """The artists' first prototypes, unit length.

        Raises:
            ValueError: the anchors have not been released yet.
        """
        if self.anchors is None:
            message = "the run has not released its anchors yet"
            raise ValueError(message)
        return unit_rows(self.anchors)

    def finished_prototypes(self) -> Float[np.ndarray, "artists embedding"]:
        """The prototypes of a finished run.

        Raises:
            ValueError: the run has not come to its last exchange.
        """
        if self.prototypes is None:
            message = "the run has not released its prototypes yet"
            raise ValueError(message)
        return self.prototypes

    def _with_centre(
        self, total: Float[np.ndarray, " values"], plan: RunPlan, *, noised: bool
    ) -> GlobalState:
        # Every artist adds all of the noise of a release of its own.
        of_the_sum = plan.budget.noise_multiplier(Stage.CENTRE) * math.sqrt(len(plan.artists))
        estimate = estimate_mean(
            total,
            row_norm_l2=FEATURE_NORM_BOUND,
            clip_norm_l2=plan.policy.privacy.clip_norm_l2,
            minimum_count=float(_smallest_count(plan)),
            noise_multiplier=of_the_sum if noised else 0.0,
        )
        return replace(self, centre=estimate.mean, count=estimate.count)

    def _with_step(
        self, gradient_sum: Float[np.ndarray, "embedding embedding"], plan: RunPlan
    ) -> GlobalState:
        training = plan.policy.training
        momentum = training.momentum * self.momentum + gradient_sum / self.count
        return replace(
            self, momentum=momentum, head_weight=self.head_weight - training.learning_rate * momentum
        )

    def _with_prototypes(self, last: Float[np.ndarray, "artists embedding"], plan: RunPlan) -> GlobalState:
        if self.anchors is None:
            return replace(self, prototypes=unit_rows(last))
        # The anchors saw the space before the head. A head of mean singular value s scales their noise by
        # about s, so they are divided by it before both estimates are weighted by their inverse variances.
        scale = np.linalg.norm(self.head_weight) / np.sqrt(plan.embedding_size)
        first = self.anchors @ self.head_weight.T / scale
        merged = merge_by_inverse_variance(
            [first, last],
            noise_multipliers=[
                plan.budget.noise_multiplier(Stage.ANCHORS),
                plan.budget.noise_multiplier(Stage.REPRESENT),
            ],
        )
        return replace(self, prototypes=unit_rows(merged))


def _smallest_count(plan: RunPlan) -> int:
    return plan.policy.artworks.minimum_per_artist * len(plan.artists)
