"""The port through which a rail asks the serving engine: one short, deterministic answer to one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ratchet_server.rails.message import Message

__all__ = ["RAIL_PRIORITY", "Generate"]

# Behind interactive requests (0), before batch ones (2): a rail call is short and holds a request up.
RAIL_PRIORITY = 1


class Generate(Protocol):
    """Asks a model of the serving engine. Cancelling the call aborts the engine request."""

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
        """Return the completion.

        Args:
            messages: The prompt.
            model: Adapter alias or digest, or "base".
            max_tokens: Upper bound of the answer.
            temperature: 0 is greedy.
            stop: Texts that end the answer.
            priority: The engine's scheduling priority.
        """
        ...
