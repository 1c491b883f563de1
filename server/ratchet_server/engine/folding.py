"""Which adapter is folded, and the way into a fold and out of it, without a request noticing.

A folded adapter is held by the core twice, under two ids: as a LoRA and folded. New requests take the folded one from
one assignment on; those that began on the other finish there, and vLLM's prefix cache keeps the two apart. So no answer
has tokens from both, and going back is the same assignment. It must not know aliases: somebody else says what to fold.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from ratchet_plugins.vllm.folding import protocol
from ratchet_plugins.vllm.folding.errors import FoldRefused
from ratchet_server.engine.core import Core
from ratchet_server.engine.errors import AdapterNotFolded, AdapterNotLoaded, EngineError, EngineUnavailable
from ratchet_server.engine.slots import AdapterSlots

__all__ = ["FoldReport", "Folding", "is_folded"]

log = logging.getLogger(__name__)

_MARK = "#folded"


@dataclass(frozen=True, slots=True)
class FoldReport:
    """How an adapter was folded.

    Attributes:
        digest: The adapter.
        modules: Linear modules merged.
        build_seconds: Beside the live weights, while streams went on.
        seconds: From the call until new requests were served from the fold: build, checks and proof.
    """

    digest: str
    modules: int
    build_seconds: float
    seconds: float


def is_folded(key: str) -> bool:
    """Return whether a name in the table of slots is that of a folded adapter."""
    return key.endswith(_MARK)


class Folding:
    """The fold of one engine: none, or one adapter."""

    def __init__(
        self, slots: AdapterSlots, core: Callable[[], Core], prove: Callable[[str, str], Awaitable[None]]
    ) -> None:
        """Create it with nothing folded.

        Args:
            slots: Where the folded adapter is held beside the others.
            core: Gives the running core. Raises EngineUnavailable.
            prove: Given a digest and its folded name, returns when the second has the proven effect of the first.
        """
        self._slots = slots
        self._core = core
        self._prove = prove
        self._digest = ""
        self._leaving: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    @property
    def digest(self) -> str:
        """The adapter whose new requests are served from the fold; "" for none."""
        return self._digest

    def name(self, digest: str) -> str:
        """Return the name under which a request on an adapter is admitted now."""
        return f"{digest}{_MARK}" if digest and digest == self._digest else digest

    async def fold(self, digest: str) -> FoldReport:
        """Fold a loaded adapter in the place of the one folded before.

        Raises:
            AdapterNotFolded: It cannot be, or the fold failed a check or its proof; it is served as before.
            AdapterNotLoaded, EngineUnavailable.
        """
        async with self._lock:
            began = asyncio.get_running_loop().time()
            adapter_id, folder = self._slots.place(digest)
            await self._unfold()
            try:
                built = await protocol.build(self._core().ask, adapter_id)
                # The build took its own copy, but nobody may be served what was unloaded meanwhile.
                self._slots.place(digest)
                await self._enter(digest, folder)
            except FoldRefused as error:
                raise AdapterNotFolded(digest, error.problem) from error
            seconds = asyncio.get_running_loop().time() - began
            return FoldReport(digest, built.modules, built.seconds, seconds)

    async def unfold(self) -> None:
        """Serve new requests as a LoRA at once; return when those on the fold are done and its memory is free."""
        self._digest = ""
        async with self._lock:
            await self._unfold()

    def lost(self) -> None:
        """The core is gone, and the fold with it."""
        self._digest = ""

    async def _enter(self, digest: str, folder: Path) -> None:
        key = f"{digest}{_MARK}"
        await self._slots.load(key, folder)
        try:
            folded_id, _ = self._slots.place(key)
            await protocol.install(self._core().ask, folded_id)
            try:
                await self._prove(digest, key)
            except EngineError as error:
                raise AdapterNotFolded(digest, str(error)) from error
            self._slots.place(digest)
            self._digest = digest
        except BaseException:
            await self._leave(key)
            raise

    async def _unfold(self) -> None:
        self._digest = ""
        for key in [name for name in self._slots.loaded() if is_folded(name)]:
            await self._leave(key)
        if self._leaving is not None:
            await asyncio.shield(self._leaving)
            self._leaving = None

    async def _leave(self, key: str) -> None:
        # Goes on when the caller is cancelled: half a departure would hold the weights for ever.
        self._leaving = asyncio.ensure_future(self._free(key))
        await asyncio.shield(self._leaving)
        self._leaving = None

    async def _free(self, key: str) -> None:
        try:
            adapter_id, _ = self._slots.place(key)
            await self._slots.unload(key)
            await protocol.drop(self._core().ask, adapter_id)
        except (AdapterNotLoaded, EngineUnavailable):
            log.info("the fold of %s went with its core", key[:19])
