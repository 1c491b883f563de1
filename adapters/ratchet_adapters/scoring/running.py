"""Hands the parts of a plan to worker processes, here or on a Ray cluster.

It must not know what is done with a part.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from ratchet_adapters.cluster.settings import RaySettings
from ratchet_adapters.scoring.errors import ScoringFailed
from ratchet_adapters.scoring.part_scorer import PartScorer
from ratchet_adapters.scoring.plan import Plan
from ratchet_adapters.training.trainers.child import die_with

__all__ = ["score_locally", "score_on_ray"]

OnPart = Callable[[int, int], None]
"""Called with a finished part and its number of rows, in the order in which parts are finished."""

_held: PartScorer | None = None
"""The scorers of this process, when it is a worker of a local pool."""


def score_locally(plan: Plan, workers: int, on_part: OnPart) -> None:
    """Score the pending parts in processes of this machine.

    Raises:
        ScoringFailed: A worker process died.
        ScoringError, ScorerError: What a worker raised. Parts that are finished stay.
    """
    if not plan.pending:
        return
    # Spawned: a fork would copy locks of threads that are not there any more.
    with ProcessPoolExecutor(workers, get_context("spawn"), _load, (plan.to_json(), os.getpid())) as pool:
        running = {pool.submit(_score, part): part for part in plan.pending}
        try:
            for done in as_completed(running):
                on_part(running[done], done.result())
        except BrokenProcessPool as error:
            raise ScoringFailed("a worker process died, perhaps out of memory") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def score_on_ray(plan: Plan, settings: RaySettings, on_part: OnPart) -> None:
    """Score the pending parts with Ray Data: one actor per worker holds the scorers; a dead one is replaced.

    All machines must see the log and the output folder at the same paths: only numbers of parts travel.

    Raises:
        ClusterUnavailable: There is no such cluster.
        ScoringFailed: A worker raised an error; it is in the message.
    """
    from ratchet_adapters.cluster.opening import opened

    if not plan.pending:
        return
    with opened(settings):
        import ray

        ray.data.DataContext.get_current().enable_progress_bars = False
        parts = ray.data.from_items([{"part": part} for part in plan.pending], override_num_blocks=len(plan.pending))
        scored = parts.map_batches(
            _Worker,
            fn_constructor_args=(plan.to_json(),),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(settings.workers, len(plan.pending))),
            num_cpus=settings.cpus_per_worker,
            num_gpus=settings.gpus_per_worker or None,
        )
        try:
            for row in scored.iter_rows():
                on_part(int(row["part"]), int(row["rows"]))
        except ray.exceptions.RayError as error:
            cause = error.__cause__ or error
            raise ScoringFailed(f"{type(cause).__name__}: {cause}") from error


class _Worker:
    """The actor of Ray Data: a batch is the number of one part."""

    def __init__(self, plan: str) -> None:
        self._scorer = PartScorer(Plan.from_json(plan))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score the part and return its number of rows."""
        (part,) = batch["part"]
        return {"part": [part], "rows": [self._scorer.score(int(part))]}


def _load(plan: str, parent: int) -> None:
    global _held
    die_with(parent)
    _held = PartScorer(Plan.from_json(plan))


def _score(part: int) -> int:
    assert _held is not None, "the pool's initialiser has run"
    return _held.score(part)
