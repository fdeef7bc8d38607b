"""The public constants of a run, derived from the policy and the roster alone.

Flows in: the policy and the names of the artists. Flows out: the list of exchanges, the noise of each, the
sizes and value ranges of the secure sums. Never seen here: an artwork, a feature, or how many works anybody
has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fedstyle_secure.errors import ArtworkError, ErrorCode, PolicyError
from fedstyle_secure.policy import Policy
from fedstyle_secure.privacy.plan import BudgetPlan, PlannedRelease, plan_budget
from fedstyle_secure.secure_aggregation.encoding import SumSettings
from fedstyle_secure.secure_aggregation.framing import valid_client_id

__all__ = ["Exchange", "RunPlan", "Stage", "plan_run"]

# The share of `represent` that the first prototypes (the anchors of training) take; the rest goes to the
# last ones.
_ANCHOR_SHARE_OF_REPRESENT = 1 / 3

# Noise further out than this many standard deviations is clamped by the encoding. Clamping happens after the
# noise, so it is post-processing and costs no privacy; at 8 standard deviations it is also never seen
# (probability 1e-15 a value).
_NOISE_TAIL_STANDARD_DEVIATIONS = 8.0

# Rounding at random to steps of half the noise's standard deviation adds at most 1/16 to its variance.
_COARSEST_STEP_OVER_NOISE = 0.5

_MOST_ARTISTS = 1024


class Stage(StrEnum):
    """What an exchange is for."""

    CENTRE = "centre"
    ANCHORS = "anchors"
    TRAIN = "train"
    REPRESENT = "represent"


@dataclass(frozen=True)
class Exchange:
    """One secure sum: every artist releases one vector, everybody opens the sum.

    Attributes:
        stage: what the vectors mean.
        round_number: 0 for the stages that happen once, 1 to `rounds` for training.
    """

    stage: Stage
    round_number: int = 0

    @property
    def label(self) -> str:
        """Name of the exchange in files and records, unique in a run."""
        return f"{self.stage}-{self.round_number:04d}"


@dataclass(frozen=True)
class RunPlan:
    """Everything that all parties of a run know before it starts.

    Attributes:
        policy: the policy that the run keeps.
        artists: names of the artists in roster order; an artist's place in it is its place in the prototype
            vector.
        public_model: fingerprint of the frozen encoder and the public projection, which all artists must
            share.
        budget: noise multiplier of every release, calibrated together.
        exchanges: every secure sum of the run, in order.
    """

    policy: Policy
    artists: tuple[str, ...]
    public_model: str
    budget: BudgetPlan
    exchanges: tuple[Exchange, ...]

    @property
    def embedding_size(self) -> int:
        """Number of values in a style embedding."""
        return self.policy.style.embedding_size

    def length(self, stage: Stage) -> int:
        """Number of values in one artist's vector."""
        size = self.embedding_size
        lengths = {
            Stage.CENTRE: size + 1,  # the sum of the features, and the count
            Stage.TRAIN: size * size,
            Stage.ANCHORS: size * len(self.artists),
            Stage.REPRESENT: size * len(self.artists),
        }
        return lengths[stage]

    def sum_settings(self, stage: Stage) -> SumSettings:
        """The public constants of the secure sum of a stage."""
        clip = self.policy.privacy.clip_norm_l2
        largest_sum = self.policy.artworks.largest_collection
        tail = _NOISE_TAIL_STANDARD_DEVIATIONS * self.budget.noise_multiplier(stage)
        # Rounded, because the settings must be the same bit for bit on machines whose mathematics libraries
        # differ.
        value_limit = float(f"{clip * (largest_sum + tail):.6g}")
        return SumSettings(
            length=self.length(stage),
            value_bits=self.policy.secure_aggregation.value_bits,
            value_limit=value_limit,
            cohort_cap=len(self.artists),
        )

    def epsilon_after(self, exchanges_done: Sequence[Exchange]) -> float:
        """Epsilon that the exchanges so far have spent, at the policy's delta."""
        done: dict[str, int] = {}
        for exchange in exchanges_done:
            done[exchange.stage] = done.get(exchange.stage, 0) + 1
        return self.budget.epsilon_after(done)


def plan_run(policy: Policy, artists: Sequence[str], *, public_model: str) -> RunPlan:
    """Derive the public constants of a run.

    Args:
        policy: a supported policy.
        artists: names of the artists who take part.
        public_model: fingerprint of the frozen encoder and the public projection.

    Returns:
        The plan. It is the same whatever works the artists hold.

    Raises:
        ArtworkError: fewer artists than the policy's minimum cohort, too many, or a name that cannot be used.
        PolicyError: the grid that values are rounded to is coarser than the noise.
        BudgetError: the budget cannot be met.
    """
    minimum = policy.federation.cohort.minimum
    if len(artists) < minimum:
        raise ArtworkError(
            ErrorCode.ARTWORKS_TOO_FEW_ARTISTS,
            f"{len(artists)} artists take part, and the policy wants a cohort of at least {minimum}",
            fix="Add artists, or lower federation.cohort.minimum if a smaller crowd hides them well enough.",
        )
    _require_names(artists)
    releases = _planned_releases(policy)
    budget = plan_budget(
        epsilon=policy.privacy.epsilon,
        delta=policy.privacy.delta,
        neighbouring=policy.privacy.neighbouring,
        releases=releases,
    )
    exchanges = tuple(
        Exchange(stage, number if stage is Stage.TRAIN else 0)
        for stage in Stage
        if stage in releases
        for number in range(1, releases[stage].count + 1)
    )
    plan = RunPlan(
        policy=policy, artists=tuple(artists), public_model=public_model, budget=budget, exchanges=exchanges
    )
    for stage in sorted({exchange.stage for exchange in exchanges}):
        _require_fine_grid(plan, stage)
    return plan


def _require_names(artists: Sequence[str]) -> None:
    if len(artists) > _MOST_ARTISTS:
        raise ArtworkError(
            ErrorCode.ARTWORKS_TOO_MANY_ARTISTS,
            f"{len(artists)} artists take part, and a run holds at most {_MOST_ARTISTS}",
            fix="Divide the artists among several runs.",
        )
    for artist in artists:
        if not valid_client_id(artist):
            raise ArtworkError(
                ErrorCode.ARTIST_NAME_INVALID,
                f"the name {ascii(artist)[:80]} cannot stand on a roster",
                fix="Name the folder with at most 128 bytes of printable characters and plain spaces.",
            )


def _require_fine_grid(plan: RunPlan, stage: Stage) -> None:
    """Refuse a grid so coarse that rounding would drown what the noise leaves."""
    settings = plan.sum_settings(stage)
    noise = plan.budget.noise_multiplier(stage) * plan.policy.privacy.clip_norm_l2
    if settings.value_limit / settings.steps > _COARSEST_STEP_OVER_NOISE * noise:
        raise PolicyError(
            ErrorCode.POLICY_GRID_TOO_COARSE,
            f"with value_bits {settings.value_bits} and largest_collection "
            f"{plan.policy.artworks.largest_collection}, numbers are rounded more coarsely than the noise of "
            f"stage {stage} is wide",
            fix="Raise secure_aggregation.value_bits, or lower artworks.largest_collection.",
        )


def _planned_releases(policy: Policy) -> Mapping[str, PlannedRelease]:
    split = policy.privacy.split
    trains = split.train > 0
    anchor_share = split.represent * _ANCHOR_SHARE_OF_REPRESENT if trains else 0.0
    shares = {
        Stage.CENTRE: (split.centre, 1),
        Stage.ANCHORS: (anchor_share, 1),
        Stage.TRAIN: (split.train, policy.federation.rounds),
        Stage.REPRESENT: (split.represent - anchor_share, 1),
    }
    return {
        stage: PlannedRelease(share=share, count=count)
        for stage, (share, count) in shares.items()
        if share > 0
    }
