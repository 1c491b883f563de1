"""An adapter folder from outside becomes a registered, proven adapter, or nothing at all."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

from ratchet_adapters.artifacts import ArtifactStore
from ratchet_adapters.artifacts.adapter_files import inspect_adapter
from ratchet_adapters.registry import AdapterRecord, Registry
from ratchet_server.routing.swap import Swaps
from ratchet_server.serving.base_model import BaseModel


class Intake:
    """Validates files before anything is stored, stores before anything is registered, proves at the end."""

    def __init__(
        self,
        registry: Registry,
        artifacts: ArtifactStore,
        swaps: Swaps,
        base: BaseModel,
        *,
        max_rank: int,
        max_bytes: int,
    ) -> None:
        self._registry = registry
        self._artifacts = artifacts
        self._swaps = swaps
        self._base = base
        self._max_rank = max_rank
        self.max_bytes = max_bytes

    async def take(self, folder: Path, *, name: str, actor: str) -> tuple[str, bool]:
        """Returns the digest and whether it was new.

        Raises:
            AdapterInvalid: pickle files, truncated tensors, another base, too high a rank; says which.
            ArtifactStoreFull: no room.
            AdapterHasNoEffect: it changes nothing in the engine; it stays registered, unproven and unroutable.
        """
        manifest = await asyncio.to_thread(
            inspect_adapter,
            folder,
            base_fingerprint=self._base.fingerprint,
            base_config=json.loads((self._base.path / "config.json").read_text(encoding="utf-8")),
            max_rank=self._max_rank,
            max_bytes=self.max_bytes,
        )
        digest = await asyncio.to_thread(self._artifacts.put_folder, folder)
        record = AdapterRecord(
            digest=digest,
            name=name,
            base_fingerprint=self._base.fingerprint,
            rank=manifest.rank,
            alpha=manifest.alpha,
            target_modules=manifest.target_modules,
            size_bytes=manifest.size_bytes,
            run_id="",
            created_by=actor,
            created_at=datetime.now(UTC),
            proof=None,
            aliases=(),
        )
        created = await asyncio.to_thread(self._registry.add_adapter, record, actor)
        await self._swaps.ensure(digest)
        return digest, bool(created)
