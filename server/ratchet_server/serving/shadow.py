"""A candidate's answers to requests that the champion has answered: nobody sees them, nobody waits for them.

They are made one at a time, at the priority of evaluations, only while no request waits for the engine, and what comes
faster than that is left out. A shadow answer that fails is not counted. Must not know what the comparison is for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass

from ratchet_adapters.rollouts.judging import CANDIDATE, CONTROL
from ratchet_server.engine.engine import Engine, EngineRequest
from ratchet_server.observability.rollout_metrics import RolloutMetrics
from ratchet_server.rails.profile import Profile
from ratchet_server.rails.verdict import Outcome
from ratchet_server.routing.router import Route
from ratchet_server.routing.swap import AdapterUnavailable, Swaps
from ratchet_server.serving.exchange import EVALUATION, Request
from ratchet_server.serving.scoring import ExchangeScores
from ratchet_server.traffic.arms import ArmCounter, Observation

__all__ = ["Shadow"]

log = logging.getLogger(__name__)

_WAITING = 32
_DEADLINE_SECONDS = 60.0
_BUSY_SECONDS = 0.05


@dataclass(frozen=True)
class _Task:
    request: Request
    route: Route
    profile: Profile
    control: Observation


class Shadow:
    """One per server. `offer` never waits and never raises."""

    def __init__(
        self, engine: Engine, swaps: Swaps, scores: ExchangeScores, arms: ArmCounter, metrics: RolloutMetrics
    ) -> None:
        self._engine = engine
        self._swaps = swaps
        self._scores = scores
        self._arms = arms
        self._metrics = metrics
        self._waiting: deque[_Task] = deque()
        self._wake = asyncio.Event()
        self.answered = 0
        self.left_out = 0
        self.failed = 0

    def offer(self, request: Request, route: Route, profile: Profile, control: Observation) -> None:
        """Have a request that has been answered answered by its route's shadow too, if there is room."""
        if control.finish_reason == "blocked_input":
            return
        if len(self._waiting) >= _WAITING:
            self.left_out += 1
            self._metrics.shadow("left_out")
            return
        self._waiting.append(_Task(request, route, profile, control))
        self._wake.set()

    async def run(self) -> None:
        """Answers until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                if self._engine.status().waiting:
                    # Nothing tells when the engine's queue is empty.
                    await asyncio.sleep(_BUSY_SECONDS)
                    continue
                task = self._waiting.popleft()
                try:
                    async with asyncio.timeout(_DEADLINE_SECONDS):
                        candidate = await self._answer(task)
                except Exception:
                    self.failed += 1
                    self._metrics.shadow("failed")
                    log.exception("no shadow answer of %s", task.route.shadow[:19])
                    continue
                self.answered += 1
                self._metrics.shadow("answered")
                assert task.route.arm is not None
                self._arms.observe_pair(task.route.arm, task.control, candidate)
                for arm in (CONTROL, CANDIDATE):
                    self._metrics.answered(arm)

    async def _answer(self, task: _Task) -> Observation:
        started = time.monotonic()
        if not self._swaps.routable(task.route.shadow):
            # Taken off since, or never loaded here: a shadow is no reason to load it.
            raise AdapterUnavailable(task.route.shadow, "it is not loaded")
        request = EngineRequest(
            request_id=f"shadow-{task.request.request_id}",
            messages=task.request.messages,
            sampling=task.request.sampling,
            digest=task.route.shadow,
            priority=EVALUATION,
            deadline=started + _DEADLINE_SECONDS,
        )
        text, reason = "", "stop"
        async with aclosing(self._engine.generate(request)) as chunks:
            async for chunk in chunks:
                text += chunk.text
                reason = chunk.finish_reason or reason
        decision = await task.profile.check_output(task.request.messages, text)
        if decision.outcome is Outcome.FAILED:
            raise ShadowRailsFailed
        blocked = decision.outcome is Outcome.BLOCK
        known = {"input_harm": score} if (score := task.control.scores.get("input_harm")) is not None else {}
        prompt = task.request.messages[-1].content
        # As for every answer: of one that was blocked, only what the rails scored is known.
        scores = await self._scores.complete(prompt, "" if blocked else text, known | dict(decision.scores))
        return Observation("blocked_output" if blocked else reason, scores, (time.monotonic() - started) * 1e3)


class ShadowRailsFailed(Exception):
    """A rail broke on a shadow answer: whether it would have been blocked is not known."""
