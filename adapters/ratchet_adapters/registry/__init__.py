"""The registry: adapters by digest, routing, learning runs, gate reports, datasets and the ledger, on SQL.

It must not know gRPC, files or the engine. No torch.
"""

from ratchet_adapters.registry.database import Database
from ratchet_adapters.registry.errors import (
    AdapterAmbiguous,
    AdapterNotFound,
    ChampionChanged,
    DatasetNotFound,
    GateRefused,
    IdempotencyConflict,
    NothingToRollBack,
    RegistryError,
    RegistryFull,
    RegistryTooNew,
    RegistryUnavailable,
    ReportConflict,
    ReportNotFound,
    RunEnded,
    RunNotFound,
)
from ratchet_adapters.registry.records import (
    BASE,
    AdapterRecord,
    CurvePoint,
    DatasetRecord,
    GateOutcome,
    LedgerCheck,
    LedgerEntry,
    Proof,
    ReportRecord,
    Routing,
    RoutingChange,
    RunRecord,
    RunState,
)
from ratchet_adapters.registry.registry import Registry
from ratchet_adapters.registry.settings import RegistrySettings, default_url

__all__ = [
    "BASE",
    "AdapterAmbiguous",
    "AdapterNotFound",
    "AdapterRecord",
    "ChampionChanged",
    "CurvePoint",
    "Database",
    "DatasetNotFound",
    "DatasetRecord",
    "GateOutcome",
    "GateRefused",
    "IdempotencyConflict",
    "LedgerCheck",
    "LedgerEntry",
    "NothingToRollBack",
    "Proof",
    "Registry",
    "RegistryError",
    "RegistryFull",
    "RegistrySettings",
    "RegistryTooNew",
    "RegistryUnavailable",
    "ReportConflict",
    "ReportNotFound",
    "ReportRecord",
    "Routing",
    "RoutingChange",
    "RunEnded",
    "RunNotFound",
    "RunRecord",
    "RunState",
    "default_url",
]
