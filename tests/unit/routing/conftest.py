"""A real registry and artifact store around an engine double: routing is about state, not about tokens."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ratchet_adapters.artifacts import ArtifactStore, open_store
from ratchet_adapters.registry import AdapterRecord, Proof, Registry, ReportRecord
from ratchet_server.engine.errors import AdapterHasNoEffect
from ratchet_server.observability.metrics import Metrics
from ratchet_server.routing.router import Router
from ratchet_server.routing.swap import Swaps


@dataclass
class EngineDouble:
    """What Swaps asks of an engine. An adapter whose weights file is empty has no effect."""

    folders: dict[str, Path] = field(default_factory=dict)
    proved: list[str] = field(default_factory=list)
    streams_end: asyncio.Event | None = None

    def holds(self, digest: str) -> bool:
        return digest in self.folders

    def loaded(self) -> list[str]:
        return list(self.folders)

    async def load(self, digest: str, folder: Path) -> None:
        self.folders[digest] = folder

    async def unload(self, digest: str) -> None:
        if self.streams_end is not None:
            await self.streams_end.wait()
        del self.folders[digest]

    async def prove(self, digest: str, expected: Proof | None = None) -> Proof:
        self.proved.append(digest)
        if not (self.folders[digest] / "adapter_model.safetensors").read_bytes():
            raise AdapterHasNoEffect(digest, 0.0, 0.1)
        return Proof(1.0, 2.0, 8, (1.0,) * 8, datetime.now(UTC))


@dataclass
class House:
    """The parts of a server that routing is made of."""

    registry: Registry
    artifacts: ArtifactStore
    engine: EngineDouble
    router: Router
    swaps: Swaps
    metrics: Metrics
    scratch: Path

    def swapped(self, kind: str) -> float:
        """How many swaps of a kind this server has counted."""
        return self.metrics.registry.get_sample_value("ratchet_swaps_total", {"kind": kind}) or 0.0

    def add(self, name: str, weights: bytes = b"weights") -> str:
        """Register an adapter folder; the double takes any bytes for weights."""
        folder = self.scratch / name
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(weights)
        (folder / "adapter_config.json").write_text(name)
        digest = self.artifacts.put_folder(folder)
        now = datetime.now(UTC)
        self.registry.add_adapter(
            AdapterRecord(digest, name, "sha256:" + "1" * 64, 8, 16, ("q_proj",), 1, "", "t", now), "t"
        )
        return digest

    def report(self, candidate: str, outcome: str = "PASS") -> None:
        """A gate report against the present champion."""
        champion = self.registry.routing().champion
        ident = f"{outcome}-{candidate[7:15]}-{champion[7:15]}-{datetime.now(UTC).timestamp()}"
        self.registry.add_report(ReportRecord(ident, "", candidate, champion, outcome, "test", {}, datetime.now(UTC)))

    async def promote(self, digest: str, champion: str | None = None) -> None:
        """Promote with a fresh PASS."""
        self.report(digest)
        await self.swaps.promote(digest, expected_champion=champion, actor="t", reason="")


def build(folder: Path, scratch: Path, *, keep: int = 3, **swaps_options: Any) -> House:
    """A server's routing parts over the state in a folder; called twice it is two servers, or one restarted."""
    registry = Registry.open(f"sqlite:///{folder}/ratchet.db")
    artifacts = open_store(str(folder / "artifacts"))
    engine = EngineDouble()
    router = Router(registry, registry.routing())
    metrics = Metrics(CollectorRegistry())
    swaps = Swaps(registry, artifacts, engine, router, metrics, keep=keep, **swaps_options)  # type: ignore[arg-type]
    return House(registry, artifacts, engine, router, swaps, metrics, scratch)


@pytest.fixture
def house(tmp_path: Path) -> House:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return build(tmp_path, scratch)
