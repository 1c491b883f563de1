"""When a step is tried again, and how long to wait before.

Must not know the steps. Only what was unavailable is worth another attempt: everything else would fail the same way.
"""

from __future__ import annotations

import threading

from ratchet_adapters.learning.errors import LearnerStopping, LearningError

__all__ = ["Patience"]


class Patience:
    """Says of each failed attempt whether to try again, having waited first.

    The durable-workflow library would sleep deaf to a shutdown; this waits on the signal to stop instead. The last
    failure is given up on rather than wrapped, so that what the run records is the failure itself.
    """

    def __init__(self, stopping: threading.Event, *, attempts: int, backoff_s: float, backoff_max_s: float) -> None:
        """Allow `attempts` in all; wait `backoff_s` after the first, twice as long each time up to `backoff_max_s`."""
        self._stopping = stopping
        self._left = attempts - 1
        self._pause = backoff_s
        self._pause_max = backoff_max_s

    def __call__(self, error: BaseException) -> bool:
        """Wait and say whether to try again.

        Raises:
            LearnerStopping: The learner is shutting down.
        """
        if not (isinstance(error, LearningError) and error.retryable) or self._left <= 0:
            return False
        self._left -= 1
        if self._stopping.wait(min(self._pause, self._pause_max)):
            raise LearnerStopping
        self._pause *= 2
        return True
