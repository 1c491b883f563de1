"""The serving engine as the model behind LLM rails: the rails' `Generate` port over the engine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from uuid import uuid4

from ratchet_server.engine.engine import Engine, EngineRequest, Sampling
from ratchet_server.rails.message import Message
from ratchet_server.routing.router import Router
from ratchet_server.routing.swap import Swaps


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
        async with aclosing(self._engine.generate(request)) as chunks:
            return "".join([chunk.text async for chunk in chunks])
