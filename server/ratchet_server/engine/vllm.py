"""The engine over vLLM: the life of the core, its adapters and their proofs, and requests handed to the runner.

It must not know tenants, rails, aliases or the registry. One instance belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path

from ratchet_server.engine import proof
from ratchet_server.engine.core import Core
from ratchet_server.engine.engine import (
    EVALUATION,
    ChatMessage,
    Chunk,
    EngineRequest,
    EngineStatus,
    LogProb,
    Message,
    RestartReport,
)
from ratchet_server.engine.errors import AdapterNotFolded, EngineError, EngineUnavailable, RequestInvalid
from ratchet_server.engine.folding import Folding, FoldReport, is_folded
from ratchet_server.engine.proof import Proof
from ratchet_server.engine.rendering import Renderer
from ratchet_server.engine.runner import RequestRunner
from ratchet_server.engine.settings import EngineSettings
from ratchet_server.engine.slots import AdapterSlots

__all__ = ["VllmEngine"]

_NOT_STARTED = "it has not been started"


class VllmEngine:
    """An `Engine` over one vLLM core in a child process."""

    def __init__(
        self, settings: EngineSettings, *, start_core: Callable[[EngineSettings], Awaitable[Core]] = Core.start
    ) -> None:
        """Create an engine; nothing runs before `start`.

        Args:
            settings: Sizes and limits.
            start_core: How a core is brought up.
        """
        self.settings = settings
        self._start_core = start_core
        self._core: Core | None = None
        self._why_down = _NOT_STARTED
        self._renderer: Renderer | None = None
        self._slots = AdapterSlots(
            self, max_in_flight=settings.max_loras, max_loaded=settings.max_held, patience=settings.patience_seconds
        )
        self._folding = Folding(self._slots, self._running, self._prove_fold)
        self._runner = RequestRunner(settings, self._slots, self._running, self._folding.name)
        self._proofs: dict[str, Proof] = {}
        self._lifecycle = asyncio.Lock()

    async def start(self) -> None:
        """Bring the core up; idempotent.

        Raises:
            EngineStartFailed: It did not come up.
        """
        async with self._lifecycle:
            if self._core is None:
                await self._start()

    async def stop(self) -> None:
        """Take the core down; requests in flight and waiting end with EngineUnavailable. Idempotent."""
        async with self._lifecycle:
            await self._stop("it was stopped")

    async def restart(self) -> RestartReport:
        """Replace the core by a fresh one and bring its adapters back, each proven again if it was before.

        An adapter that does not come back is reported, not raised: the base model and the others serve on.

        Raises:
            EngineStartFailed: The fresh core did not come up; the engine is down.
        """
        async with self._lifecycle:
            began = time.monotonic()
            proofs = self._proofs
            lost = await self._stop("it is restarting")
            await self._start()
            restored, refused = [], {}
            for digest, folder in lost.items():
                try:
                    await self._slots.load(digest, folder)
                    if digest in proofs:
                        await self.prove(digest, proofs[digest])
                    restored.append(digest)
                except EngineError as error:
                    refused[digest] = str(error)
                    if self._slots.holds(digest):
                        await self.unload(digest)
            return RestartReport(time.monotonic() - began, tuple(restored), refused)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Stream one answer; closing or cancelling the iterator aborts the request in the core.

        Raises:
            AdapterNotLoaded: Its adapter is not loaded; vLLM never sees the request.
            PromptTooLong: No room for one new token.
            RequestInvalid: Neither messages nor token ids, or parameters vLLM refuses.
            DeadlineExceeded: The deadline passed, waiting included.
            EngineUnavailable: There is no core, or it died meanwhile.
            EngineRequestFailed: vLLM failed on this request only.
        """
        self._running()
        given = request.prompt_token_ids
        token_ids = list(given) if given is not None else self.render(request.messages)
        stream = self._runner.generate(request, token_ids)
        try:
            async for chunk in stream:
                yield chunk
        finally:
            await stream.aclose()

    async def score(
        self, items: Sequence[tuple[str, str]], digest: str, *, priority: int = EVALUATION
    ) -> list[LogProb]:
        """Log-probabilities of continuations given contexts, in order.

        The boundary between the two is exact: see `Renderer.split`. All items are under way together as far as the
        token budget allows; the first error ends the call and aborts the rest.

        Args:
            items: (context, continuation) pairs, control tokens written out.
            digest: The adapter; "" is the base model alone.
            priority: In the core's queue.

        Raises:
            AdapterNotLoaded, PromptTooLong, RequestInvalid, EngineUnavailable, EngineRequestFailed.
        """
        renderer = self._ready_renderer()
        return await self._runner.score([renderer.split(*item) for item in items], digest, priority)

    async def score_answers(
        self, items: Sequence[tuple[str, str]], digest: str, *, priority: int = EVALUATION
    ) -> list[LogProb]:
        """Log-probabilities of answers to single user messages, rendered with the chat template.

        Args:
            items: (user message, answer) pairs; both are plain text.
            digest: The adapter; "" is the base model alone.
            priority: In the core's queue.

        Raises:
            The same as `score`.
        """
        renderer = self._ready_renderer()
        pairs = [(renderer.chat([Message("user", asked)]), renderer.split("", answer)[1]) for asked, answer in items]
        return await self._runner.score(pairs, digest, priority)

    async def load(self, digest: str, folder: Path) -> None:
        """Make an adapter available; idempotent, and safe to call from several tasks at once.

        Args:
            digest: Its content digest.
            folder: Its immutable folder.

        Raises:
            AdapterLoadFailed: The folder is not an adapter of this model; the engine is unharmed.
            AdapterSlotsExhausted: `max_loaded` adapters are loaded.
            EngineUnavailable: There is no core.
        """
        if not digest:
            raise RequestInvalid("the base model needs no loading")
        self._running()
        await self._slots.load(digest, folder)

    async def unload(self, digest: str) -> None:
        """Refuse new requests on an adapter, wait for those it has, and free it.

        Raises:
            AdapterNotLoaded: It is not loaded.
        """
        if self._folding.digest == digest:
            await self._folding.unfold()
        await self._slots.unload(digest)
        self._proofs.pop(digest, None)

    async def prove(self, digest: str, expected: Proof | None = None) -> Proof:
        """Measure that a loaded adapter has an effect, and the expected one; remembered for restarts.

        Raises:
            AdapterHasNoEffect, AdapterFingerprintMismatch: Do not route to it.
            AdapterNotLoaded, EngineUnavailable: As for `score`.
        """
        fresh = await proof.prove(self, digest, expected.fingerprint if expected is not None else None)
        self._proofs[digest] = expected if expected is not None else fresh
        return fresh

    async def fold(self, digest: str) -> FoldReport:
        """Merge a loaded adapter into weights of its own, so that it costs no more than the base model.

        Requests go on all the while and later ones take the fold; the one folded before is a LoRA again.

        Raises:
            AdapterNotFolded: It cannot be, or folding is off; it is served as a LoRA.
            AdapterNotLoaded, EngineUnavailable.
        """
        if not self.settings.fold:
            raise AdapterNotFolded(digest, "engine.fold is off")
        return await self._folding.fold(digest)

    async def unfold(self) -> None:
        """Serve what is folded as a LoRA again, at once for new requests; its memory is free on return."""
        await self._folding.unfold()

    @property
    def folded(self) -> str:
        """The digest whose new requests are served from a fold; "" for none."""
        return self._folding.digest

    def holds(self, digest: str) -> bool:
        """Return whether an adapter can be asked for."""
        return self._slots.holds(digest)

    def loaded(self) -> list[str]:
        """Return the digests that can be asked for."""
        return [name for name in self._slots.loaded() if not is_folded(name)]

    async def check_health(self) -> None:
        """Return when the core is up.

        Raises:
            EngineUnavailable: It is not.
        """
        await self._running().check_health()

    def render(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Return the token ids of a chat, up to where the assistant's answer begins.

        Raises:
            RequestInvalid: The model's template refuses the messages.
            EngineUnavailable: The engine was never started.
        """
        return self._ready_renderer().chat(messages)

    def status(self) -> EngineStatus:
        """Return what the engine is doing now."""
        return EngineStatus(
            running=self._runner.running,
            waiting=self._runner.waiting,
            ready=self._core is not None and self._core.alive,
            loaded=tuple(self.loaded()),
        )

    @property
    def core(self) -> Core:
        """The running core, for diagnosis and tests. Raises EngineUnavailable."""
        return self._running()

    # The port `AdapterCore` of the slots.

    async def add(self, digest: str, adapter_id: int, folder: Path) -> None:
        """Hand an adapter to the core under an id; use `load`."""
        await self._running().add(digest, adapter_id, folder)

    async def remove(self, adapter_id: int) -> None:
        """Take an adapter from the core by its id; use `unload`."""
        await self._running().remove(adapter_id)

    async def _start(self) -> None:
        self._why_down = "it is starting"
        try:
            core = await self._start_core(self.settings)
        except BaseException:
            self._why_down = "it did not start"
            raise
        self._renderer = Renderer(core.tokenizer, self.settings.system_prompt)
        self._core = core

    async def _stop(self, why: str) -> dict[str, Path]:
        core, self._core = self._core, None
        self._why_down = why
        self._proofs = {}
        self._folding.lost()
        lost = self._slots.lose(EngineUnavailable(why))
        if core is not None:
            await core.stop()
        return {name: folder for name, folder in lost.items() if not is_folded(name)}

    async def _prove_fold(self, digest: str, key: str) -> None:
        tolerance = proof.FOLD_TOLERANCE if self._running().exact else proof.FINGERPRINT_TOLERANCE
        await proof.agree(self, digest, key, tolerance=tolerance)

    def _running(self) -> Core:
        if self._core is None:
            raise EngineUnavailable(self._why_down)
        return self._core

    def _ready_renderer(self) -> Renderer:
        if self._renderer is None:
            raise EngineUnavailable(_NOT_STARTED)
        return self._renderer
