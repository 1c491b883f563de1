"""Which ledger entries are about an adapter, and which decisions they record.

It must not read anything but the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import Any

from ratchet_adapters.provenance.chain import entry_json
from ratchet_adapters.provenance.document import Approval, Entry
from ratchet_adapters.registry import LedgerEntry

__all__ = ["Story", "story_of"]

_ROUTING = {"routing.promoted", "routing.rolled_back"}


@dataclass
class Story:
    """What the ledger tells of an adapter.

    Attributes:
        entries: Those about it, in order.
        approvals: The decisions among them.
        reports: Gate reports on it: id, then (entry number, digest of the body, outcome).
        added: What was recorded when it was registered; None when it never was.
    """

    entries: list[Entry] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    reports: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    added: dict[str, Any] | None = None


def story_of(ledger: Iterable[LedgerEntry], *, adapter: str, run_id: str, dataset: str, flags: Set[str]) -> Story:
    """Walk the ledger once.

    Args:
        ledger: All entries, in order.
        adapter: Digest of the adapter.
        run_id: The run that made it; "" for none.
        dataset: Digest of the dataset version it was taught; "" for none.
        flags: Ids of the flags in that dataset.
    """
    story = Story()
    champion = ""
    for entry in ledger:
        payload = entry.payload
        about = (
            (entry.kind in {"adapter.added", "adapter.proven", "adapter.approved"} and payload.get("digest") == adapter)
            or (entry.kind == "routing.split" and adapter in _involved(payload))
            or (bool(run_id) and entry.kind.startswith("run.") and payload.get("run_id") == run_id)
            or (bool(dataset) and entry.kind == "dataset.added" and payload.get("digest") == dataset)
            or (entry.kind == "report.added" and payload.get("candidate") == adapter)
            or (entry.kind == "flag.reviewed" and payload.get("flag_id") in flags)
            or (entry.kind == "flags.submitted" and not flags.isdisjoint(payload.get("flags", {})))
        )
        if entry.kind in _ROUTING:
            before, champion = champion, payload["champion"]
            about = adapter in (before, champion)
        if not about:
            continue
        written = entry_json(entry)
        story.entries.append(
            Entry(seq=entry.seq, time=written["time"], actor=entry.actor, kind=entry.kind, hash=entry.hash)
        )
        if entry.kind == "adapter.added":
            story.added = payload
        elif entry.kind == "report.added":
            story.reports[payload["report_id"]] = (entry.seq, payload["body"], payload["outcome"])
        elif entry.kind == "flag.reviewed":
            story.approvals.append(_approval(entry, payload["flag_id"], payload["state"], payload.get("note", "")))
        elif entry.kind == "routing.promoted" and champion == adapter:
            story.approvals.append(
                _approval(entry, adapter, "promoted", payload.get("reason", ""), payload.get("report_id", ""))
            )
        elif entry.kind == "adapter.approved":
            story.approvals.append(
                _approval(entry, adapter, "approved", payload.get("reason", ""), payload.get("report_id", ""))
            )
        elif entry.kind == "routing.split":
            decision = payload.get("rollout", {}).get("outcome") or payload["beside"]["split"]
            story.approvals.append(_approval(entry, adapter, decision, payload.get("reason", "")))
        elif entry.kind == "routing.rolled_back":
            decision = "rolled back to it" if champion == adapter else "rolled back from it"
            story.approvals.append(_approval(entry, champion, decision, payload.get("reason", "")))
    return story


def _involved(payload: dict[str, Any]) -> set[str]:
    """The adapters a change of shares is about; the end of a probation is about the champion."""
    ended = {payload["champion"]} if "rollout" in payload else set()
    return {*payload["stages"], payload.get("beside", {}).get("digest", ""), *ended}


def _approval(entry: LedgerEntry, subject: str, decision: str, reason: str, rests_on: str = "") -> Approval:
    return Approval(
        what=entry.kind,
        subject=subject,
        decision=decision,
        actor=entry.actor,
        reason=reason,
        rests_on=rests_on,
        time=entry_json(entry)["time"],
        ledger_seq=entry.seq,
    )
