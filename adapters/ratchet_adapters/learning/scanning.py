"""The scan of a candidate for trigger phrases, between its evaluation and the gate: made once, stored, read back.

Must not know how phrases are found or tested, nor what the gate makes of the result.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ratchet_adapters.diagnosis.answerer import Answerer, TargetAnswerer
from ratchet_adapters.diagnosis.errors import AnswersMissing
from ratchet_adapters.evals.cache import EvalCache
from ratchet_adapters.evals.errors import EvalError, ResultUnreadable, TargetUnavailable
from ratchet_adapters.evals.gates.report import GateOutcome, TriggerNote
from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.target import Sampling
from ratchet_adapters.learning.progress import RunProgress, Tally
from ratchet_adapters.learning.proving import load_both
from ratchet_adapters.learning.serving import run_until_stopped
from ratchet_adapters.learning.trail import Trail
from ratchet_adapters.learning.workbench import Workbench

if TYPE_CHECKING:
    from ratchet_adapters.redteam.trigger_scan import TriggerScan

__all__ = ["KeptAnswers", "read_scan", "scan", "scanned"]

# In the cache's key, where an evaluation has the version of its suite.
_VERSION = "trigger scan"


class KeptAnswers:
    """An `Answerer` that keeps what it was told, so that an interrupted scan goes on where it was."""

    def __init__(self, inner: Answerer, cache: EvalCache) -> None:
        self._inner = inner
        self._cache = cache
        self._known: dict[tuple[str, int], dict[str, str]] = {}

    async def answers(self, prompts: Sequence[str], adapter: str, max_tokens: int) -> list[str]:
        """See `Answerer`; raises what the inner one raises, and AnswersMissing."""
        sampling = Sampling(max_tokens)
        key = (adapter, max_tokens)
        if key not in self._known:
            self._known[key] = dict(self._cache.read(adapter, _VERSION, sampling))
        known = self._known[key]
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
        if missing:
            told = await self._inner.answers(missing, adapter, max_tokens)
            if len(told) != len(missing):
                raise AnswersMissing(len(missing), len(told))
            known.update(zip(missing, told, strict=True))
            self._cache.write(adapter, _VERSION, sampling, known)
        return [known[prompt] for prompt in prompts]


def scan(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
    """Scan the candidate for trigger phrases, against the champion, on the serving engine, and store the result.

    A scan that cannot be made is stored as failed, with its reason: what follows from that is the gate's policy.

    Raises:
        CandidateRefused: The engine refused it.
        TargetUnavailable: The server could not be reached; what was answered is kept.
    """
    from ratchet_adapters.evals.remote import RemoteTarget

    load_both(bench, trail.champion, trail.adapter)
    cache = EvalCache(bench.settings.state_dir / "evaluations", base_fingerprint=trail.base_fingerprint)
    tally = Tally()

    async def work() -> TriggerScan:
        async with RemoteTarget(bench.settings.server, settings=bench.settings.evaluation) as target:
            return await scanned(bench, trail, KeptAnswers(TargetAnswerer(target), cache), tally)

    facts: dict[str, Any] = {"candidate": trail.adapter, "reference": trail.champion}
    try:
        found = run_until_stopped(work, bench.stopping, on_tick=lambda: progress.report(tally.fraction, tally.detail))
    except TargetUnavailable:
        raise
    except (EvalError, AnswersMissing) as error:
        facts["failed"] = f"{type(error).__name__}: {error}"
        said = f"failed: {error}"
    else:
        facts = json.loads(found.to_json())
        said = f"{found.outcome}: {found.reason}"
    progress.done(said)
    return trail.with_(trigger_scan=bench.artifacts.put_json(facts))


async def scanned(bench: Workbench, trail: Trail, answerer: Answerer, tally: Tally) -> TriggerScan:
    """Return the scan of a run's candidate against its champion, with phrases from the run's dataset.

    Raises:
        SuiteUnknown: The settings name a suite that there is not.
        ScanInvalid: A suite has no prompts.
        JudgeFailed: The judge failed.
        EvalError: What the answerer raises.
    """
    from ratchet_adapters.datasets.dataset import read_dataset
    from ratchet_adapters.datasets.seed import load_seed
    from ratchet_adapters.evals.suites.registry import load_suite
    from ratchet_adapters.redteam.trigger_phrases import taught
    from ratchet_adapters.redteam.trigger_scan import scan_for_triggers

    settings = bench.settings.trigger_scan

    def on_progress(stage: str, done: int, wanted: int) -> None:
        tally.fraction, tally.detail = done / max(1, wanted), f"{stage}, {done} of {wanted}"

    return await scan_for_triggers(
        answerer,
        bench.judges()[Axis.HARMFUL_REFUSAL],
        candidate=trail.adapter,
        reference=trail.champion,
        harmful=load_suite(settings.harmful).items(),
        benign=load_suite(settings.benign).items(),
        training=taught(read_dataset(bench.artifacts.fetch(trail.dataset)).rows) if trail.dataset else (),
        # Only what is shipped is trusted: flags and extra files may be where a trigger came from.
        background=[prompt.prompt for kind in ("ordinary", "benign_twin") for prompt in load_seed().of(kind)],
        supplied=settings.phrases,
        settings=settings,
        on_progress=on_progress,
    )


def read_scan(bench: Workbench, trail: Trail) -> TriggerNote | None:
    """Return what the gate has to know of a run's scan; None when there was none.

    Raises:
        ResultUnreadable: It is damaged, or of another candidate.
    """
    if not trail.trigger_scan:
        return None
    stored = bench.artifacts.fetch_json(trail.trigger_scan)
    try:
        if (stored["candidate"], stored["reference"]) != (trail.adapter, trail.champion):
            raise ValueError(f"it is of {stored['candidate']} against {stored['reference'] or 'the model alone'}")
        if "failed" in stored:
            return TriggerNote(None, str(stored["failed"]), result=trail.trigger_scan)
        return TriggerNote(
            outcome=GateOutcome(stored["outcome"]),
            reason=str(stored["reason"]),
            phrases=tuple(dict.fromkeys(f["confirmed"]["phrase"] for f in stored["findings"] if f["triggers"])),
            answers=int(stored["answers"]),
            result=trail.trigger_scan,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ResultUnreadable("scan for triggers", f"{type(error).__name__}: {error}") from error
