"""When a failed call is tried again: only what never began, when the server says so, while the caller has time."""

from __future__ import annotations

import time

from ratchet.client.errors import Overloaded, RatchetError

__all__ = ["Patience"]

_ATTEMPTS = 4


class Patience:
    """Of one call. UNAVAILABLE is tried again by the channel itself, see `channel.py`."""

    def __init__(self, timeout: float | None) -> None:
        """`timeout`: seconds for all attempts together; None for no limit."""
        self._until = None if timeout is None else time.monotonic() + timeout
        self._attempts = 1

    def left(self) -> float | None:
        """Seconds for the next attempt."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def pause(self, error: RatchetError) -> float:
        """Return how many seconds to wait before the next attempt.

        Raises:
            RatchetError: The error itself, when there shall be none: it is no overload, the wait would outlast the
                caller, or there were enough attempts.
        """
        left = self.left()
        if not isinstance(error, Overloaded) or error.retry_after is None or self._attempts >= _ATTEMPTS:
            raise error
        if left is not None and error.retry_after >= left:
            raise error
        self._attempts += 1
        return error.retry_after
