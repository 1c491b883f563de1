"""What health checks see: this server serves when everything it depends on does.

Must not know what the conditions are, nor the wire.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class Health:
    """NOT_SERVING until every condition is met."""

    def __init__(self, *conditions: str) -> None:
        self._met = dict.fromkeys(conditions, False)
        self._tell: Callable[[bool], Awaitable[None]] | None = None

    def attach(self, tell: Callable[[bool], Awaitable[None]]) -> None:
        """Says who is told of it from now on."""
        self._tell = tell

    def condition(self, name: str) -> Callable[[bool], Awaitable[None]]:
        """What to call when a condition is met, or not any more. Raises KeyError for one that is not there."""
        self._met[name]

        async def say(met: bool) -> None:
            self._met[name] = met
            if self._tell is not None:
                await self._tell(all(self._met.values()))

        return say
