"""What the registry hands out: frozen records. A digest is `sha256:<64 hex>`; the base model's is "".

It must not know how they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

__all__ = [
    "BASE",
    "AdapterRecord",
    "ArmCount",
    "CurvePoint",
    "DatasetRecord",
    "GateOutcome",
    "LedgerCheck",
    "LedgerEntry",
    "Proof",
    "ReportRecord",
    "RolloutRecord",
    "Routing",
    "RoutingChange",
    "RunRecord",
    "RunState",
    "ServerRecord",
    "ServerState",
    "Wanted",
]

BASE = "base"


class RunState(StrEnum):
    """States of a run; the last three are final."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        """Whether a run in this state never changes again."""
        return self in {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


class GateOutcome(StrEnum):
    """What a gate report says. Only PASS lets an adapter be promoted."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Proof:
    """Evidence from the serving engine that an adapter changes what it should.

    Attributes:
        mean_delta: Mean absolute log-probability change against the base on fixed prompts, nats.
        max_delta: The largest such change, nats.
        prompts: Number of prompts.
        fingerprint: The change per prompt, nats, to recognise the adapter by.
        proven_at: When.
    """

    mean_delta: float
    max_delta: float
    prompts: int
    fingerprint: tuple[float, ...]
    proven_at: datetime


@dataclass(frozen=True, slots=True)
class AdapterRecord:
    """An adapter, by digest. `aliases` and `stage` are filled by the registry and ignored when handed in."""

    digest: str
    name: str
    base_fingerprint: str
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    size_bytes: int
    run_id: str
    created_by: str
    created_at: datetime
    proof: Proof | None = None
    aliases: tuple[str, ...] = ()
    stage: str = field(default="registered", compare=False)


@dataclass(frozen=True, slots=True)
class Routing:
    """Which digest each alias means; `previous` is what a rollback would restore. `version` grows with each change.

    Attributes:
        split: How another digest takes part: "" (not at all), "shadow" (it answers unseen), "canary" (a candidate
            answers a share) or "holdout" (the champion before keeps a share).
        beside: That digest.
        share_bp: Its share of the requests, in hundredths of a percent.
        sticky_by: What keeps its arm in a canary or holdout: "tenant" or "conversation".
        rollout_id, step: The rollout this belongs to and the step it is in.
    """

    version: int
    champion: str
    previous: str
    changed_at: datetime
    split: str = ""
    beside: str = ""
    share_bp: int = 0
    sticky_by: str = ""
    rollout_id: str = ""
    step: int = 0


@dataclass(frozen=True, slots=True)
class RoutingChange:
    """What made a version of the routing: a promotion through the gate, a rollback, or a change of who is beside.

    `decided_by` is the id of the server that made it, "" for a process that is none.
    """

    version: int
    kind: Literal["promote", "rollback", "split"]
    decided_by: str = ""


class ServerState(StrEnum):
    """Where a server stands. Only SERVING takes traffic, and only those are waited for."""

    JOINING = "joining"
    SERVING = "serving"
    DRAINED = "drained"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A server process. It is believed alive until `lease_until`, by the database's clock."""

    id: str
    name: str
    state: ServerState
    why: str
    lease_until: datetime
    registered_at: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """An adapter that servers shall have ready; `said` is what the one that asks has said of it, None for nothing."""

    digest: str
    said: bool | None


class CurvePoint(NamedTuple):
    """One optimiser step of a training: its loss, and what else its method shows, by name."""

    step: int
    loss: float
    metrics: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A learning run. `progress` is within the step, in [0, 1]."""

    id: str
    method: str
    options: dict[str, Any]
    state: str
    step: str
    progress: float
    detail: str
    dataset_digest: str
    adapter_digest: str
    report_id: str
    error: str
    requested_by: str
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    curve: tuple[CurvePoint, ...]
    promote_on_pass: bool


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """A gate report; `body` is the whole GateReport as JSON."""

    id: str
    run_id: str
    candidate_digest: str
    champion_digest: str
    outcome: str
    reason: str
    body: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """A rollout. `plan` is its plan as JSON, `step` the index of the step it is or was in.

    `outcome` is "" while it is under way, then "completed", "rolled_back", "inconclusive", "rejected" or "superseded".
    """

    id: str
    candidate: str
    champion: str
    report_id: str
    plan: dict[str, Any]
    step: int
    step_since: datetime
    outcome: str
    reason: str
    requested_by: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class ArmCount:
    """Bernoulli trials of one metric in one arm of one step of a rollout, and how many of them were bad."""

    rollout_id: str
    step: int
    arm: str
    metric: str
    trials: int
    events: int


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A dataset version and the flags it was made from."""

    digest: str
    run_id: str
    flag_ids: tuple[str, ...]
    counts: dict[str, int]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One change of state. `hash` covers all other fields; `previous_hash` chains it to the entry before."""

    seq: int
    time: datetime
    actor: str
    kind: str
    payload: dict[str, Any]
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """Result of verifying the ledger; `first_bad_seq` is None when it is whole."""

    ok: bool
    entries: int
    first_bad_seq: int | None
    reason: str
