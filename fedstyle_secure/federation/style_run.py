"""The main job: from artworks to a style index, under the policy's promise.

Flows in: a policy and a collection of artworks. Flows out: a run folder with the index, and the result that
`run --json` prints. Artworks and features stay in this process; what is written to the folder has been
released.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

import fedstyle_secure
from fedstyle_secure.artworks.collection import ArtworkCollection
from fedstyle_secure.federation.evaluation import SPLITS, Split, evaluate, evaluation_runs, evaluation_splits
from fedstyle_secure.federation.global_state import GlobalState
from fedstyle_secure.federation.records import ExchangeRecord
from fedstyle_secure.federation.run_folder import Manifest, RunFolder, artworks_fingerprint
from fedstyle_secure.federation.run_plan import RunPlan, Stage, plan_run
from fedstyle_secure.federation.session import SessionResult, run_session
from fedstyle_secure.policy import Policy
from fedstyle_secure.style.encoder import Encoder, load_encoder
from fedstyle_secure.style.index import StyleIndex
from fedstyle_secure.style.public import PublicProjection, load_projection

__all__ = ["NOT_RELEASED", "RunObserver", "StyleRun", "run_style_federation"]

Features = Mapping[str, Float[np.ndarray, "artworks embedding"]]

_EVALUATION_NOTE = (
    "No guarantee covers these numbers, for any work: they are computed without noise from all works. Of the "
    "five private runs the first is the released one, the others are thrown away. Keep them on this machine."
)

_LIMITS = (
    "Style is not hidden: the released prototypes are there to make an artist's style findable, and one "
    "artist's updates tell whose style they carry. The promise is about each single artwork, not about an "
    "artist's taking part.",
    "The centre and the training steps are sums over the whole cohort. Prototypes are not: every artist of "
    "the run gets those of the others one by one, each protected by its own artist's noise alone.",
    "Taking part shows that an artist has at least as many readable works as the policy's minimum.",
    "Many near-copies of one work count as many works; together they are protected less.",
    "An artist who sends made-up updates can spoil the result; nothing here detects that yet.",
    "The aggregator is assumed to follow the protocol. It cannot read updates, but a dropped artist stops "
    "the run.",
)


def _ignore(steps: int) -> None:
    del steps


# What `run --json` prints and no guarantee covers: notices name files, the rest is measured without noise.
NOT_RELEASED = frozenset(
    {"notices", "quality", "private_top1_by_artist", "evaluation_splits", "evaluation_note"}
)


class RunObserver:
    """Told what a run is doing; override what you need. The default says nothing."""

    def notice(self, message: str) -> None:
        """Something the user should know."""

    def planned(self, plan: RunPlan) -> None:
        """The budget is planned; nothing has left yet."""

    def exchanged(self, record: ExchangeRecord) -> None:
        """An exchange is done."""

    def progress(self, label: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Something long begins.

        Args:
            label: what it is.
            total: how many steps it has.

        Returns:
            A context for its duration, which yields a function that is told how many more steps are done.
        """
        del label, total
        return nullcontext(_ignore)


@dataclass(frozen=True)
class StyleRun:
    """A finished run.

    Attributes:
        folder: where it was written.
        result: what `run --json` prints.
        index: the style index.
        split: which works were held out; None without evaluation.
        session: the session's released state, records and transcript.
        features: all works' projected features. Private: they never leave this process.
    """

    folder: RunFolder
    result: dict[str, Any]
    index: StyleIndex
    split: Split | None
    session: SessionResult
    features: Features


def run_style_federation(
    policy: Policy,
    collection: ArtworkCollection,
    out: Path,
    *,
    policy_text: str,
    with_evaluation: bool = False,
    resume: bool = False,
    observer: RunObserver | None = None,
) -> StyleRun:
    """Train, release and index, keeping the policy's promise.

    Args:
        policy: a supported policy.
        collection: the artists' works.
        out: run folder, absent or empty unless `resume`.
        policy_text: the policy as it was written.
        with_evaluation: hold works out and measure retrieval on them.
        resume: continue the run in `out`.
        observer: told what goes on.

    Returns:
        The finished run, also written to `out`.

    Raises:
        ArtworkError: too few artists or works.
        BudgetError: the budget cannot be met.
        SetupError: the folder cannot be written, or an optional package is missing.
        UsageError: the folder holds another run.
        ProtocolError: the protocol was broken.
    """
    observer = observer or RunObserver()
    encoder = load_encoder(policy.style.encoder)
    if encoder.notice:
        observer.notice(encoder.notice)
    projection = load_projection(encoder, embedding_size=policy.style.embedding_size)
    plan = plan_run(
        policy,
        [works.artist for works in collection.artists],
        public_model=f"{encoder.fingerprint()} {projection.sha256}",
    )
    guarantee = plan.budget.guarantee(unit=policy.privacy.unit).to_json()
    observer.planned(plan)
    splits = evaluation_splits(_work_ids(collection)) if with_evaluation else ()
    split = splits[0] if splits else None

    folder = _open_folder(
        out,
        policy,
        policy_text=policy_text,
        collection=collection,
        encoder=encoder,
        projection=projection,
        with_evaluation=with_evaluation,
        resume=resume,
    )
    with folder.locked():
        features, colour = _encode(collection, encoder, projection, observer)
        training = (
            features if split is None else {name: features[name][split.train[name]] for name in features}
        )
        session = _train(plan, training, folder, observer)

        result = _result(policy, plan, collection, encoder, records=session.records, guarantee=guarantee)
        if splits:
            with observer.progress("Measuring on held-out works", evaluation_runs()) as advance:
                quality = evaluate(
                    plan,
                    features,
                    colour,
                    splits=splits,
                    first_state=session.state,
                    on_run=lambda: advance(1),
                )
            scores = asdict(quality)
            result["private_top1_by_artist"] = scores.pop("private_top1_by_artist")
            result["quality"] = scores
            result["evaluation_splits"] = SPLITS
            result["evaluation_note"] = _EVALUATION_NOTE
        index = _index(plan, session.state, encoder, projection, result["guarantee"])
        index.save(folder.path)
        released = {key: value for key, value in result.items() if key not in NOT_RELEASED}
        folder.write_json("result.json", released)
        folder.write_json("private/result.json", result)
    return StyleRun(
        folder=folder, result=result, index=index, split=split, session=session, features=features
    )


def _work_ids(collection: ArtworkCollection) -> Mapping[str, Sequence[bytes]]:
    return {
        works.artist: [hashlib.sha256(image.tobytes()).digest() for image in works.images]
        for works in collection.artists
    }


def _open_folder(
    out: Path,
    policy: Policy,
    *,
    policy_text: str,
    collection: ArtworkCollection,
    encoder: Encoder,
    projection: PublicProjection,
    with_evaluation: bool,
    resume: bool,
) -> RunFolder:
    manifest = Manifest(
        package_version=fedstyle_secure.__version__,
        policy_sha256=policy.fingerprint().hex(),
        artworks_sha256=artworks_fingerprint([(works.artist, works.images) for works in collection.artists]),
        encoder=encoder.fingerprint(),
        projection_sha256=projection.sha256,
        artists=tuple(works.artist for works in collection.artists),
        evaluate=with_evaluation,
    )
    if resume:
        return RunFolder.reopen(out, manifest=manifest)
    return RunFolder.create(out, policy_text=policy_text, manifest=manifest)


def _encode(
    collection: ArtworkCollection, encoder: Encoder, projection: PublicProjection, observer: RunObserver
) -> tuple[Features, Features]:
    features, colour = {}, {}
    with observer.progress(
        "Looking at the artworks", sum(len(works.images) for works in collection.artists)
    ) as advance:
        for works in collection.artists:
            encoded = encoder.encode(works.images)
            features[works.artist] = projection.project(encoded)
            colour[works.artist] = projection.colour(encoded)
            advance(len(works.images))
    return features, colour


def _train(plan: RunPlan, features: Features, folder: RunFolder, observer: RunObserver) -> SessionResult:
    with observer.progress("Training under encryption", len(plan.exchanges)) as advance:

        def exchanged(record: ExchangeRecord) -> None:
            advance(1)
            observer.exchanged(record)

        return run_session(plan, features, journal=folder, on_exchange=exchanged)


def _index(
    plan: RunPlan,
    state: GlobalState,
    encoder: Encoder,
    projection: PublicProjection,
    guarantee: Mapping[str, Any],
) -> StyleIndex:
    return StyleIndex(
        artists=plan.artists,
        prototypes=state.finished_prototypes(),
        centre=state.centre,
        head_weight=state.head_weight,
        encoder=encoder.name,
        projection_sha256=projection.sha256,
        guarantee=dict(guarantee),
    )


def _result(
    policy: Policy,
    plan: RunPlan,
    collection: ArtworkCollection,
    encoder: Encoder,
    *,
    records: Sequence[ExchangeRecord],
    guarantee: Mapping[str, Any],
) -> dict[str, Any]:
    exchanges = [record.to_json() for record in records]
    return {
        "schema_version": 1,
        "version": fedstyle_secure.__version__,
        "policy_sha256": policy.fingerprint().hex(),
        "policy_epsilon": policy.privacy.epsilon,
        "encoder": {"name": encoder.name, "notice": encoder.notice},
        "artists": list(plan.artists),
        "notices": [asdict(notice) for notice in collection.notices],
        "guarantee": dict(guarantee),
        "limits": list(_LIMITS),
        "exchanges": exchanges,
        "rounds": [exchange for exchange in exchanges if exchange["stage"] == Stage.TRAIN],
        "totals": {
            "bytes_up_per_artist": sum(record.bytes_up_per_artist for record in records),
            "bytes_down_per_artist": sum(record.bytes_down_per_artist for record in records),
            "seconds": round(sum(sum(record.seconds.values()) for record in records), 3),
        },
    }
