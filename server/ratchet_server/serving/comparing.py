"""What the request path tells those who compare the two arms of a rollout. Never waits, never fails a request.

Must not know how arms are judged.
"""

from __future__ import annotations

import asyncio

from ratchet_server.engine.errors import EngineUnavailable, PromptTooLong, RequestInvalid
from ratchet_server.observability.rollout_metrics import RolloutMetrics
from ratchet_server.rails.profile import Profile
from ratchet_server.routing.router import Route
from ratchet_server.serving.exchange import Finished, Request
from ratchet_server.serving.shadow import Shadow
from ratchet_server.traffic.arms import ArmCounter, Observation

__all__ = ["Comparison"]

# The caller's doing, or the engine's under both arms: it fails in bursts that callers repeat, which is no evidence.
_NO_ARMS_FAULT = (asyncio.CancelledError, GeneratorExit, EngineUnavailable, PromptTooLong, RequestInvalid)


class Comparison:
    """One per request path.

    Args:
        arms: Who counts; None: nobody compares.
        shadow: Who answers unseen; None: nobody does.
        metrics: Where answers and failures of the arms are reported.
    """

    def __init__(self, arms: ArmCounter | None, shadow: Shadow | None, metrics: RolloutMetrics) -> None:
        self._arms = arms
        self._shadow = shadow
        self._metrics = metrics

    def answered(self, request: Request, route: Route, profile: Profile, done: Finished) -> None:
        """Count an answer on its arm, or have the shadow answer too."""
        if self._arms is None or route.arm is None:
            return
        seen = Observation(done.finish_reason, done.scores, done.timings.total_ms)
        if route.shadow and self._shadow is not None:
            self._shadow.offer(request, route, profile, seen)
        elif not route.shadow:
            self._arms.observe(route.arm, seen)
            self._metrics.answered(route.arm.name)

    def failed(self, route: Route, error: BaseException) -> None:
        """Hold a failed request against its arm, unless the caller or the engine under both arms is to blame."""
        if self._arms is None or route.arm is None or route.shadow or isinstance(error, _NO_ARMS_FAULT):
            return
        self._arms.observe_failure(route.arm)
        self._metrics.failed(route.arm.name)
