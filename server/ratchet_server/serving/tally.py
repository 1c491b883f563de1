"""What one request has seen so far. It must not know what is done with it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["Tally"]


@dataclass
class Tally:
    """Times are seconds since `started`, or of `time.perf_counter`."""

    started: float = field(default_factory=time.perf_counter)
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    token_times: list[float] = field(default_factory=list)
    first_text: float | None = None
    text: str = ""
    generated: str = ""
    counted: bool = False

    def since(self) -> float:
        return time.perf_counter() - self.started

    def gaps(self) -> list[float]:
        """Seconds between tokens as the engine delivered them."""
        return [b - a for a, b in zip(self.token_times, self.token_times[1:], strict=False)]
