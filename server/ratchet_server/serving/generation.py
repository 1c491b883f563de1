"""Requests on the serving engine, whose adapter is there when they begin; and the rails' `Generate` port over it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from uuid import uuid4

from ratchet_server.engine.engine import Chunk, Engine, EngineRequest, Sampling
from ratchet_server.engine.errors import AdapterNotLoaded
from ratchet_server.rails.message import Message
from ratchet_server.routing.router import Router
from ratchet_server.routing.swap import Swaps

_TRIES = 3


async def chunks_of(engine: Engine, swaps: Swaps, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
    """The engine's chunks. An adapter taken out between routing and generating, to make room, is brought back.

    Raises:
        AdapterUnavailable: It cannot be.
        The errors of `Engine.generate`.
    """
    for left in reversed(range(_TRIES)):
        begun = False
        try:
            async with aclosing(engine.generate(request)) as chunks:
                async for chunk in chunks:
                    begun = True
                    yield chunk
            return
        except AdapterNotLoaded:
            if begun or not left:
                raise
        await swaps.usable(request.digest)


class EngineGenerate:
    """One short completion; cancelling the call aborts the engine request."""

    def __init__(self, engine: Engine, router: Router, swaps: Swaps) -> None:
        self._engine = engine
        self._router = router
        self._swaps = swaps

    async def __call__(
        self,
        messages: Sequence[Message],
        *,
        model: str,
        max_tokens: int,
        temperature: float,
        stop: tuple[str, ...],
        priority: int,
    ) -> str:
        """See `ratchet_server.rails.Generate`."""
        route = await self._router.resolve(model)
        await self._swaps.usable(route.digest)
        request = EngineRequest(
            request_id=f"rail-{uuid4().hex}",
            messages=tuple(messages),
            sampling=Sampling(max_tokens=max_tokens, temperature=temperature, stop=stop),
            digest=route.digest,
            priority=priority,
        )
        async with aclosing(chunks_of(self._engine, self._swaps, request)) as chunks:
            return "".join([chunk.text async for chunk in chunks])
