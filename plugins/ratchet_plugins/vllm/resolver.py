"""Adapters for a stock `vllm serve`, fetched by content digest when a request first names one.

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 RATCHET_ARTIFACTS__URL=s3://adapters \\
        vllm serve MODEL --enable-lora --max-lora-rank 32
    curl ... -d '{"model": "sha256:3fa9c1...", ...}'

Only digests are resolved. vLLM's server keeps what a name meant for as long as it runs, so an alias such as "champion"
would go on being yesterday's. Where the folders come from is told by the entry-point group `ratchet.adapter_folders`:
callables from a digest to an immutable folder whose content was compared with it. It must not know the store.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from vllm import envs
from vllm.lora.request import LoRARequest
from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

__all__ = ["GROUP", "DigestResolver", "register"]

GROUP = "ratchet.adapter_folders"
_NAME = "ratchet_digest"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Source = Callable[[str], Path | None]
"""From a digest to its folder; None where it has none of that digest."""


class DigestResolver(LoRAResolver):  # type: ignore[misc]  # vllm is untyped here
    """Resolves digests, each fetched once however many requests ask for it at the same time."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """Resolve from the first source that has a digest."""
        self._sources = tuple(sources)
        self._ids = itertools.count(1)
        self._found: dict[str, LoRARequest] = {}
        self._fetching: dict[str, asyncio.Task[Path | None]] = {}

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
        """Return what vLLM loads for a digest; None for any other name and for a digest nobody has.

        Raises:
            Exception: What a source raised: its content is not that of its digest, or it cannot be reached.
        """
        if _DIGEST.fullmatch(lora_name) is None:
            return None
        if lora_name not in self._found:
            folder = await self._fetch(lora_name)
            if folder is None:
                return None
            # One id per content, never used again: vLLM serves the old weights when an id comes back.
            if lora_name not in self._found:
                self._found[lora_name] = LoRARequest(lora_name, next(self._ids), str(folder))
        return self._found[lora_name]

    async def _fetch(self, digest: str) -> Path | None:
        task = self._fetching.get(digest)
        if task is None:
            task = self._fetching[digest] = asyncio.ensure_future(asyncio.to_thread(self._folder, digest))
            task.add_done_callback(lambda done: self._fetched(digest, done))
        # A request that goes away does not take the fetch of the others with it.
        return await asyncio.shield(task)

    def _fetched(self, digest: str, task: asyncio.Task[Path | None]) -> None:
        del self._fetching[digest]
        # Looked at here, or a failure nobody waits for any more would be complained about.
        if not task.cancelled():
            task.exception()

    def _folder(self, digest: str) -> Path | None:
        for source in self._sources:
            folder = source(digest)
            if folder is not None:
                return folder
        return None


def register() -> None:
    """Offer the resolver to vLLM (entry-point group `vllm.general_plugins`); idempotent.

    Nothing happens in a process that may not load adapters while it runs: every process of vLLM's calls this.

    Raises:
        Exception: A source that is installed does not load.
    """
    if not envs.VLLM_ALLOW_RUNTIME_LORA_UPDATING or _NAME in LoRAResolverRegistry.get_supported_resolvers():
        return
    sources = [point.load() for point in importlib.metadata.entry_points(group=GROUP)]
    if sources:
        LoRAResolverRegistry.register_resolver(_NAME, DigestResolver(sources))
