"""What can end a request on its way, besides what engine, rails and registry raise."""

from __future__ import annotations

from collections.abc import Sequence


class RailFailed(Exception):
    """A rail that guards this request broke; nothing was released."""

    def __init__(self, rails: Sequence[str]) -> None:
        super().__init__(f"rails failed: {', '.join(rails)}; nothing was released, try again")
        self.rails = tuple(rails)
