"""Whether a comparison could mean anything: leaked items, an unknown training set, a stale champion, a trigger.

It must not look at how well anyone did. What it finds is never weighed: every finding makes the report a FAIL, and
what is undecided keeps it from being a PASS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ratchet_adapters.datasets.leakage import LeakPair, LeakReport
from ratchet_adapters.evals.errors import ResultUnreadable
from ratchet_adapters.evals.gates.policy import GatePolicy
from ratchet_adapters.evals.gates.report import GateOutcome, TriggerNote
from ratchet_adapters.evals.result import EvalResult

__all__ = ["Origin", "invalidities", "read_leak_check", "undecided"]

_NAMED = 10


@dataclass(frozen=True)
class Origin:
    """Where the two evaluations come from, as far as it is known.

    Attributes:
        dataset: Digest of what the candidate was trained on; "" when nothing says that it was trained on a dataset.
        leaks: The leakage check of that dataset; None when there was none.
        champion: Digest of the champion right now, "" for the model alone; None when it is not known.
        bases: Fingerprints of the base models of candidate and champion; None when they are not known.
        triggers: The scan of the candidate for trigger phrases; None when there was none.
    """

    dataset: str = ""
    leaks: LeakReport | None = None
    champion: str | None = None
    bases: tuple[str, str] | None = None
    triggers: TriggerNote | None = None


def invalidities(candidate: EvalResult, champion: EvalResult, policy: GatePolicy, origin: Origin) -> tuple[str, ...]:
    """Return one sentence for each reason not to compare the two at all; none when they may be compared."""
    return (
        *_leaked(candidate, policy, origin),
        *_stale(candidate, champion, policy, origin),
        *_triggered(policy, origin.triggers),
    )


def undecided(policy: GatePolicy, origin: Origin) -> tuple[str, ...]:
    """Return one sentence for each check the policy asks for that was made and could not decide."""
    scan = origin.triggers
    if not policy.require_trigger_scan or scan is None or scan.outcome is not GateOutcome.INCONCLUSIVE:
        return ()
    return (f"the scan for triggers is INCONCLUSIVE: {scan.reason.rstrip('.')}",)


def read_leak_check(manifest: Mapping[str, Any]) -> LeakReport | None:
    """Return the leakage check that a dataset's manifest holds; None when it holds none.

    The manifest lists the first 100 pairs, so that many can be named.

    Raises:
        ResultUnreadable: The entry is damaged.
    """
    check = manifest.get("leak_check")
    if check is None:
        return None
    try:
        pairs = tuple(LeakPair(**pair) for pair in check["listed"])
        suites = {str(name): (str(suite["version"]), int(suite["items"])) for name, suite in check["suites"].items()}
        if bool(check["pairs"]) != bool(pairs):
            raise ValueError(f"{check['pairs']} pairs, of which {len(pairs)} are listed")
        return LeakReport(pairs, int(check["rows"]), suites, check["jaccard"], check["cosine"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultUnreadable("leakage check of a dataset", f"{type(error).__name__}: {error}") from error


def _leaked(candidate: EvalResult, policy: GatePolicy, origin: Origin) -> list[str]:
    leaks = origin.leaks
    if leaks is not None and not leaks.clean:
        items = sorted({(pair.suite, pair.item_id) for pair in leaks.pairs})
        named = [f"{suite}/{'(hidden)' if policy.hides(suite) else item}" for suite, item in items[:_NAMED]]
        rest = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
        rows = len({pair.row_id for pair in leaks.pairs})
        return [f"{rows} training rows are evaluation items: {', '.join(named)}{rest}; train without them"]
    if not origin.dataset or not policy.require_leak_check:
        return []
    if leaks is None:
        return ["nothing says whether evaluation items were trained on; build the dataset with a leakage check"]
    return [
        f"the leakage check did not compare suite {suite.suite!r} in the version that was asked"
        for suite in candidate.suites
        if leaks.suites.get(suite.suite, ("", 0))[0] != suite.version
    ]


def _triggered(policy: GatePolicy, scan: TriggerNote | None) -> list[str]:
    if scan is not None and scan.outcome is GateOutcome.FAIL:
        return [scan.reason.rstrip(".")]
    if not policy.require_trigger_scan:
        return []
    if scan is None:
        return ["nobody scanned the candidate for trigger phrases; set RATCHET_LEARNER_TRIGGER_SCAN__ENABLED=true"]
    return [f"the scan for triggers failed: {scan.reason.rstrip('.')}"] if scan.outcome is None else []


def _stale(candidate: EvalResult, champion: EvalResult, policy: GatePolicy, origin: Origin) -> list[str]:
    found = []
    if origin.champion is not None and origin.champion != champion.adapter:
        found.append(
            f"the champion's evaluation is stale: it is of {_named(champion.adapter)}, but the champion is "
            f"{_named(origin.champion)}; measure again"
        )
    if origin.bases is not None and origin.bases[0] != origin.bases[1]:
        found.append(f"the base models differ: {origin.bases[0]} under the candidate, {origin.bases[1]} otherwise")
    limit = policy.baseline_max_age_hours
    if limit is not None:
        ours, theirs = _time(candidate), _time(champion)
        if ours is None or theirs is None:
            found.append("an evaluation does not say when it was made, so the champion's may be stale; measure again")
        elif (ours - theirs).total_seconds() > 3600 * limit:
            hours = (ours - theirs).total_seconds() / 3600
            found.append(f"the champion's evaluation is {hours:.0f} h older, more than {limit:g} h; measure again")
    return found


def _named(digest: str) -> str:
    return digest or "the model alone"


def _time(result: EvalResult) -> datetime | None:
    try:
        time = datetime.fromisoformat(result.created_at)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
