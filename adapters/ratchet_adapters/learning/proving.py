"""The second half of a run: load the candidate unrouted, measure it and the champion, decide, and perhaps promote.

Must not know how the candidate was made. Nothing here routes a request except the promotion, which the server checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ratchet.client import InvalidRequest, NotFound, RatchetError, Refused
from ratchet_adapters.learning.ancestry import leak_check
from ratchet_adapters.learning.errors import CandidateRefused, PromotionRefused
from ratchet_adapters.learning.progress import RunProgress, Tally
from ratchet_adapters.learning.serving import run_until_stopped
from ratchet_adapters.learning.suites import evaluation_suites
from ratchet_adapters.learning.trail import Trail
from ratchet_adapters.learning.workbench import Workbench
from ratchet_adapters.registry import ReportNotFound, ReportRecord, RolloutRecord

if TYPE_CHECKING:
    from ratchet_adapters.evals.gates.report import GateReport
    from ratchet_adapters.evals.gates.validity import Origin
    from ratchet_adapters.evals.result import EvalResult

__all__ = ["evaluate", "gate", "load", "load_both", "promote", "rollout_of"]

_LEDGER_PAGE = 1000


def load(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
    """Load the candidate into the serving engine, where it must prove that it does what its digest says.

    Raises:
        CandidateRefused: The engine refused it or it had no effect.
        RatchetError: The server could not be reached.
    """
    _load(bench, trail.adapter)
    progress.done("the candidate is loaded and proven; nothing is routed to it")
    return trail


def evaluate(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
    """Measure champion and candidate on the same suites in the serving engine, at the lowest priority.

    Answers are kept by (base model, adapter, suite version, sampling): a champion is asked once, and an interrupted
    evaluation goes on where it was.

    Raises:
        CandidateRefused: The candidate is the champion, or was refused.
        TargetUnavailable: The server could not be reached.
    """
    champion = bench.registry.routing().champion
    if champion == trail.adapter:
        raise CandidateRefused(trail.adapter, "it is the champion already: the same data and options made it again")
    load_both(bench, champion, trail.adapter)
    results = []
    for part, (who, digest) in enumerate((("champion", champion), ("candidate", trail.adapter))):
        result = _measure(bench, trail, digest, progress, label=who, share=(part / 2, 0.5))
        path = bench.run_folder(trail.run_id) / f"{who}.json"
        path.write_text(result.to_json(), encoding="utf-8")
        results.append(bench.artifacts.put_file(path))
    progress.done("champion and candidate are measured")
    return trail.with_(champion=champion, champion_result=results[0], candidate_result=results[1])


def load_both(bench: Workbench, champion: str, candidate: str) -> None:
    """Load what is to be asked: the server may have been restarted since. Raises as `load`."""
    for digest in filter(None, (champion, candidate)):
        _load(bench, digest)


def gate(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
    """Compare candidate and champion, and store the report: exactly one, however often this is repeated."""
    try:
        report = bench.registry.report_for_run(trail.run_id)
    except ReportNotFound:
        report = _decide(bench, trail)
        bench.registry.add_report(report)
    bench.registry.update_run(trail.run_id, report_id=report.id)
    progress.done(f"{report.outcome}: {report.reason}")
    version = bench.registry.routing().version
    return trail.with_(report=report.id, outcome=str(report.outcome), reason=report.reason, routing_version=version)


def rollout_of(bench: Workbench, trail: Trail) -> RolloutRecord | None:
    """Return the rollout that was begun on a run's report, None when none was."""
    begun = (found for found in bench.registry.rollouts() if found.report_id == trail.report)
    return next(begun, None) if trail.report else None


def promote(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
    """Make the candidate champion in place of the one it was measured against, or begin its rollout, unless done.

    Raises:
        PromotionRefused: The routing changed since the report, or the server refused.
    """
    routing = bench.registry.routing()
    if routing.champion == trail.adapter:
        return trail.with_(promoted=True)
    changes = bench.registry.routing_changes(trail.routing_version, max(routing.version, trail.routing_version))
    if begun := rollout_of(bench, trail):
        progress.done(
            f"rollout {begun.id} is under way" if not begun.outcome else f"its rollout ended: {begun.outcome}"
        )
        return trail
    if any(change.kind != "split" for change in changes):
        # It may even be this run's own promotion, rolled back while the learner was down: never do it twice.
        raise PromotionRefused(
            trail.adapter,
            f"the routing went from version {trail.routing_version} to {routing.version} after the report",
        )
    if not bench.settings.allow_promotion:
        progress.done("PASS; this learner may not promote, so an operator has to")
        return trail
    reason = f"run {trail.run_id}: {trail.outcome}, report {trail.report}"
    try:
        if bench.settings.staged_promotion:
            begun_id = bench.engine().begin_rollout(trail.adapter, actor="learner", reason=reason).id
            progress.done(f"rollout {begun_id} is under way")
            return trail
        bench.engine().promote(trail.adapter, expected_champion=trail.champion, actor="learner", reason=reason)
    except (Refused, InvalidRequest, NotFound) as error:
        raise PromotionRefused(trail.adapter, error.detail) from error
    progress.done("the candidate is champion")
    return trail.with_(promoted=True)


def _load(bench: Workbench, digest: str) -> None:
    try:
        bench.engine().load(digest)
    except RatchetError as error:
        if error.retryable:
            raise
        raise CandidateRefused(digest, error.detail) from error


def _measure(
    bench: Workbench, trail: Trail, adapter: str, progress: RunProgress, *, label: str, share: tuple[float, float]
) -> EvalResult:
    from ratchet_adapters.evals.cache import EvalCache
    from ratchet_adapters.evals.remote import RemoteTarget
    from ratchet_adapters.evals.runner import evaluate as run_suites

    suites, judges = evaluation_suites(bench.settings.suites), bench.judges()
    cache = EvalCache(bench.settings.state_dir / "evaluations", base_fingerprint=trail.base_fingerprint)
    tally = Tally()
    before, part = share

    def on_progress(done: int, total: int, axis: str) -> None:
        tally.fraction = before + part * done / max(1, total)
        tally.detail = f"{label}: {axis}, {done} of {total}"

    async def work() -> EvalResult:
        async with RemoteTarget(bench.settings.server, settings=bench.settings.evaluation) as target:
            return await run_suites(
                target,
                adapter,
                suites,
                judges,
                on_progress=on_progress,
                settings=bench.settings.evaluation,
                cache=cache,
            )

    return run_until_stopped(work, bench.stopping, on_tick=lambda: progress.report(tally.fraction, tally.detail))


def _result(bench: Workbench, digest: str) -> EvalResult:
    from ratchet_adapters.evals.result import EvalResult

    return EvalResult.from_json(bench.artifacts.fetch_file(digest).read_text(encoding="utf-8"))


def _decide(bench: Workbench, trail: Trail) -> ReportRecord:
    from ratchet_adapters.evals.gates.decide import decide
    from ratchet_adapters.evals.gates.policy import GatePolicy
    from ratchet_adapters.evals.gates.repeats import earlier_decisions

    path = bench.settings.gate_policy
    policy = GatePolicy.load(path) if path else GatePolicy.shipped()
    candidate, champion = _result(bench, trail.candidate_result), _result(bench, trail.champion_result)
    earlier = earlier_decisions(_reports_on(bench, champion.adapter), candidate)
    report = decide(candidate, champion, policy, origin=_origin(bench, trail), earlier=earlier)
    return ReportRecord(
        id=report.id,
        run_id=trail.run_id,
        candidate_digest=report.candidate_digest,
        champion_digest=report.champion_digest,
        outcome=report.outcome,
        reason=report.reason,
        body={**report.to_dict(), "page": _page(bench, trail, report)},
        created_at=datetime.fromisoformat(report.created_at),
    )


def _origin(bench: Workbench, trail: Trail) -> Origin:
    from ratchet_adapters.evals.gates.validity import Origin
    from ratchet_adapters.learning.scanning import read_scan

    dataset, leaks = leak_check(bench, trail)
    candidate, champion = (
        bench.registry.adapter(digest).base_fingerprint if digest else trail.base_fingerprint
        for digest in (trail.adapter, trail.champion)
    )
    found = read_scan(bench, trail)
    return Origin(dataset, leaks, bench.registry.routing().champion, (candidate, champion), found)


def _reports_on(bench: Workbench, champion: str) -> Iterator[dict[str, Any]]:
    """Yield the body of every report on a champion; the ledger knows them all, and that none was taken away."""
    after = 0
    while entries := bench.registry.ledger(after, _LEDGER_PAGE):
        for entry in entries:
            if entry.kind == "report.added" and entry.payload["champion"] == champion:
                yield bench.registry.report(entry.payload["report_id"]).body
        after = entries[-1].seq


def _page(bench: Workbench, trail: Trail, report: GateReport) -> str:
    """Store the report's page and return its digest."""
    from ratchet_adapters.evals.gates.page import write_report
    from ratchet_adapters.training.plot import curve_plot

    plot = curve_plot(bench.registry.run(trail.run_id).curve)
    _, page = write_report(report, bench.run_folder(trail.run_id) / "report", training_plot=plot)
    return bench.artifacts.put_file(page)
