"""What a run has established so far, small enough to be stored after every step.

Everything big is named here by its digest or lies in the run's folder. Must not know how a step comes to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

__all__ = ["STEPS", "Trail"]

STEPS = ("select", "replay", "train", "register", "load", "evaluate", "scan", "gate", "promote")


@dataclass(frozen=True)
class Trail:
    """The results of the steps behind us.

    Attributes:
        run_id: The run; also the id of its workflow.
        method: Training method.
        options: The run's options, as they were asked for.
        promote_on_pass: Whether the last step may promote.
        scans: Whether the candidate is scanned for triggers, as the settings had it at the start (select).
        base_fingerprint: Fingerprint of the base model, as the serving engine states it (select).
        model_path: Where the base model's files lie (select).
        flags: Digest of the selected flags' ids (select).
        dataset: Digest of the dataset (replay).
        adapter: Digest of the trained adapter (train).
        champion: Digest of the champion it was measured against, "" for the base model (evaluate).
        candidate_result: Digest of the candidate's evaluation (evaluate).
        champion_result: Digest of the champion's evaluation (evaluate).
        trigger_scan: Digest of the scan for triggers; "" when there was none (scan).
        report: Id of the gate report (gate).
        outcome: PASS, FAIL or INCONCLUSIVE (gate).
        reason: The gate's reason (gate).
        routing_version: Version of the routing the promotion starts from (gate).
        promoted: Whether this run made its adapter champion (promote).
    """

    run_id: str
    method: str = ""
    options: Mapping[str, Any] | None = None
    promote_on_pass: bool = False
    scans: bool = False
    base_fingerprint: str = ""
    model_path: str = ""
    flags: str = ""
    dataset: str = ""
    adapter: str = ""
    champion: str = ""
    candidate_result: str = ""
    champion_result: str = ""
    trigger_scan: str = ""
    report: str = ""
    outcome: str = ""
    reason: str = ""
    routing_version: int = 0
    promoted: bool = False

    @property
    def wants_promotion(self) -> bool:
        """Whether the gate let the candidate pass and the run asked to promote on that."""
        return self.promote_on_pass and self.outcome == "PASS"

    def with_(self, **established: Any) -> Trail:
        """Return the trail with further results."""
        return replace(self, **established)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Trail:
        """Read a stored trail; fields of a later version that this one does not know are dropped."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})
