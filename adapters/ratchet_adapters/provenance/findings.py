"""What a lineage shows, by name: each finding is the places where the evidence stands, or nothing.

It must not know any framework. A finding is made from recorded facts only, never from what the software is able to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ratchet_adapters.provenance.document import Lineage

__all__ = ["FINDINGS", "Finding", "found"]

Finding = Callable[[Lineage], list[str]]
"""From a lineage to sentences, each naming the file of the bundle and the place in it."""


def found(lineage: Lineage, names: tuple[str, ...]) -> list[str]:
    """Return the evidence under some findings, in order and without repetition."""
    return list(dict.fromkeys(line for name in names for line in FINDINGS[name](lineage)))


def _identity(lineage: Lineage) -> list[str]:
    one = lineage.adapter
    return [f"lineage.json#/adapter: {one.name}, digest {one.digest}, {len(one.files)} files by SHA-256"]


def _base(lineage: Lineage) -> list[str]:
    base = lineage.adapter.base_fingerprint
    return [f"lineage.json#/adapter/base_fingerprint: valid on the base model {base} only"] if base else []


def _code(lineage: Lineage) -> list[str]:
    code = lineage.code.trained_with
    return [] if code is None else [f"lineage.json#/code/trained_with: version {code.get('version', 'not stated')}"]


def _scope(lineage: Lineage) -> list[str]:
    one = lineage.adapter
    return [
        f"lineage.json#/adapter: a LoRA of rank {one.rank} on {', '.join(one.target_modules)}, {one.size_bytes} bytes"
    ]


def _training(lineage: Lineage) -> list[str]:
    one = lineage.training
    if one is None or not one.recipe:
        return []
    seed = "no seed recorded" if one.seed is None else f"seed {one.seed}"
    run = f"run {one.run_id}" if one.run_id else "no run in this registry"
    return [f"lineage.json#/training: method {one.method}, {seed}, {len(one.recipe)} settings, {run}"]


def _sources(lineage: Lineage) -> list[str]:
    data = lineage.data
    if data is None or not data.sources:
        return []
    return [f"dataset/DATASHEET.md, dataset/manifest.json: {len(data.sources)} sources with licences and rows"]


def _data_checks(lineage: Lineage) -> list[str]:
    checks = lineage.data.checks if lineage.data else {}
    lines = []
    if isinstance(leak := checks.get("leak_check"), Mapping):
        lines.append(f"lineage.json#/data/checks/leak_check: {leak.get('leaked_rows')} rows leak")
    if isinstance(label := checks.get("label_check"), Mapping) and label.get("made"):
        lines.append(f"lineage.json#/data/checks/label_check: {label.get('checked')} items checked")
    if "quarantined" in checks:
        lines.append(f"lineage.json#/data/checks/quarantined: {len(checks['quarantined'])} bursts of flags set aside")
    return lines


def _privacy(lineage: Lineage) -> list[str]:
    pii = lineage.data.checks.get("pii") if lineage.data else None
    if not isinstance(pii, Mapping):
        return []
    return [f"lineage.json#/data/checks/pii: {sum(pii.values())} pieces of personal data replaced"]


def _caps(lineage: Lineage) -> list[str]:
    caps = lineage.data.checks.get("caps") if lineage.data else None
    if not isinstance(caps, Mapping):
        return []
    bound, most = caps.get("max_items_per_principal"), caps.get("most_rows_of_one_principal")
    return [f"lineage.json#/data/checks/caps: at most {bound} items of one principal allowed, at most {most} used"]


def _policy(lineage: Lineage) -> list[str]:
    return [
        f"lineage.json#/gates/{n}/policy: thresholds {gate.policy_digest} applied by report {gate.report_id}"
        for n, gate in enumerate(lineage.gates)
        if gate.policy_digest
    ]


def _metrics(lineage: Lineage) -> list[str]:
    return [
        f"lineage.json#/gates/{n}/axes: {', '.join(str(axis.get('axis')) for axis in gate.axes)}; "
        f"{len(gate.suites)} suites"
        for n, gate in enumerate(lineage.gates)
        if gate.axes
    ]


def _results(lineage: Lineage) -> list[str]:
    return [
        f"gate-{n + 1}/gate-report.json: {gate.outcome}, ledger entry {gate.ledger_seq}"
        for n, gate in enumerate(lineage.gates)
    ]


def _proof(lineage: Lineage) -> list[str]:
    proof = lineage.adapter.proof
    if proof is None:
        return []
    return [
        f"lineage.json#/adapter/proof: moves log-probabilities by {proof['mean_delta']:.3f} nats on "
        f"{proof['prompts']} prompts in the serving engine"
    ]


def _reviews(lineage: Lineage) -> list[str]:
    reviews = [one for one in lineage.approvals if one.what == "flag.reviewed"]
    if not reviews:
        return []
    people = len({one.actor for one in reviews})
    return [f"lineage.json#/approvals: {len(reviews)} flags reviewed by {people} reviewers, in the ledger"]


def _promotions(lineage: Lineage) -> list[str]:
    return [
        f"ledger.jsonl, entry {one.ledger_seq}: promoted by {one.actor} on report {one.rests_on}"
        for one in lineage.approvals
        if one.decision == "promoted"
    ]


def _rollbacks(lineage: Lineage) -> list[str]:
    return [
        f"ledger.jsonl, entry {one.ledger_seq}: {one.decision}, by {one.actor}"
        for one in lineage.approvals
        if one.what == "routing.rolled_back"
    ]


def _changes(lineage: Lineage) -> list[str]:
    first, last = lineage.ledger[0], lineage.ledger[-1]
    return [f"ledger.jsonl, entries {first.seq} to {last.seq}: {len(lineage.ledger)} are about this adapter"]


FINDINGS: Mapping[str, Finding] = MappingProxyType(
    {
        "identity": _identity,
        "base": _base,
        "code": _code,
        "scope": _scope,
        "training": _training,
        "sources": _sources,
        "data_checks": _data_checks,
        "privacy": _privacy,
        "caps": _caps,
        "policy": _policy,
        "metrics": _metrics,
        "results": _results,
        "proof": _proof,
        "reviews": _reviews,
        "promotions": _promotions,
        "rollbacks": _rollbacks,
        "changes": _changes,
    }
)
