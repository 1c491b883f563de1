"""The way of one request: route, generate while the input rails decide, release what the output rails let pass, score.

One path for every RPC and every protocol. Must not know the wire.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace

from ratchet_server.engine.engine import Engine, EngineRequest
from ratchet_server.observability.metrics import Metrics
from ratchet_server.rails.gate import Blocked, decided, nothing
from ratchet_server.rails.gate import Finished as GateFinished
from ratchet_server.rails.gate import Released as GateReleased
from ratchet_server.rails.instant import InstantRail
from ratchet_server.rails.profile import Profile
from ratchet_server.rails.profiles import OFF_PROFILE, RailProfiles
from ratchet_server.rails.runner import CIRCUIT_OPEN
from ratchet_server.rails.verdict import ALLOWED, Decision, Outcome, Verdict
from ratchet_server.routing.router import Route, Router
from ratchet_server.routing.sticky import Sticky, sticky
from ratchet_server.routing.swap import Swaps
from ratchet_server.serving.comparing import Comparison
from ratchet_server.serving.errors import RailFailed
from ratchet_server.serving.exchange import EVALUATION, Finished, Released, Request, Timings
from ratchet_server.serving.generation import chunks_of
from ratchet_server.serving.recorded import exchange_of
from ratchet_server.serving.scoring import ExchangeScores
from ratchet_server.serving.settings import EvaluationLimits
from ratchet_server.serving.shadow import Shadow
from ratchet_server.serving.tally import Tally
from ratchet_server.serving.turns import EvaluationTurns
from ratchet_server.traffic.arms import ArmCounter
from ratchet_server.traffic.capture import Capture


class RequestPath:
    """One per server."""

    def __init__(
        self,
        engine: Engine,
        router: Router,
        swaps: Swaps,
        profiles: RailProfiles,
        scores: ExchangeScores,
        capture: Capture,
        metrics: Metrics,
        status_name: Callable[[BaseException], str],
        *,
        arms: ArmCounter | None = None,
        shadow: Shadow | None = None,
        turns: EvaluationTurns | None = None,
        instant: InstantRail | None = None,
    ) -> None:
        """`status_name`: the name under which clients see an error, for counting errors as they do.

        `instant`: blocks repeats of contained flags, whatever the profile; None: there are none.
        `arms` and `shadow`: who compares a candidate with the champion; None: nobody does.
        `turns`: who holds evaluations back beside traffic; None: the default limits do.
        """
        self._engine = engine
        self._router = router
        self._swaps = swaps
        self._profiles = profiles
        self._scores = scores
        self._capture = capture
        self._metrics = metrics
        self._instant = instant
        self._status_name = status_name
        self._comparison = Comparison(arms, shadow, metrics.rollouts)
        self._turns = turns or EvaluationTurns(EvaluationLimits())

    async def run(self, request: Request) -> AsyncGenerator[Released | Finished, None]:
        """Released text, then one Finished. Closing the iterator aborts the generation.

        Raises:
            AdapterNotFound, AdapterUnavailable, ServerDrained, UnknownProfile, PromptTooLong: before anything is
                generated.
            RailFailed: a guarding rail broke; nothing it guards was released.
            EngineUnavailable, EngineOverloaded, DeadlineExceeded: from the engine.
        """
        try:
            profile = self._profiles.get(request.profile)
            route = await self._route(request)
        except Exception as error:
            self._metrics.request_failed(request.adapter, request.profile, self._status_name(error), started=False)
            raise
        tally = Tally()
        self._metrics.request_started(route.digest, profile.name)
        try:
            held = nullcontext() if request.priority >= EVALUATION else self._turns.traffic()
            with self._router.serving(route), self._profiles.holding(profile), held:
                async for item in self._serve(request, route, profile, tally):
                    yield item
        except (Exception, asyncio.CancelledError, GeneratorExit) as error:
            # A caller that has all it wanted may close the iterator at its last item.
            if not tally.counted:
                self._metrics.request_failed(route.digest, profile.name, self._status_name(error))
                self._comparison.failed(route, error)
            raise

    async def _route(self, request: Request) -> Route:
        """Who answers. A canary that cannot be served here leaves its requests to the champion, uncounted."""
        # What is evaluated is no traffic.
        dealt = None if request.priority >= EVALUATION else _sticky(request)
        route = await self._router.resolve(request.adapter, dealt)
        aside = route.arm is not None and route.digest != self._router.routing.champion
        if aside and not self._swaps.routable(route.digest):
            # Nobody waits for a load, or fails, because of a rollout.
            route = self._router.champion()
        await self._swaps.usable(route.digest)
        self._router.admit(route)
        return route

    async def _serve(
        self, request: Request, route: Route, profile: Profile, tally: Tally
    ) -> AsyncIterator[Released | Finished]:
        input_decision = ALLOWED
        input_ms = 0.0

        async def input_rails() -> Decision:
            nonlocal input_decision, input_ms, request
            input_decision = await self._contained(request, route, profile)
            if input_decision.outcome is Outcome.ALLOW:
                decision, admitted = await profile.admit(request.messages)
                request = replace(request, messages=admitted)
                input_decision = decision.after(input_decision)
            input_ms = tally.since() * 1e3
            return input_decision

        output, blocked = ALLOWED, None
        check: Awaitable[Decision] = input_rails()
        if profile.rewrites_input:
            # What a rail takes out of a prompt is for no model to read: generation waits.
            check = decided(await check)
        allowed = input_decision.outcome is Outcome.ALLOW
        deltas = self._deltas(request, route, tally) if allowed else nothing()
        gate = profile.guard_stream(request.messages, deltas, input_check=check)
        try:
            async for item in gate:
                if isinstance(item, GateReleased):
                    tally.first_text = tally.first_text if tally.first_text is not None else tally.since()
                    tally.text += item.text
                    yield Released(item.text)
                elif isinstance(item, Blocked):
                    blocked, output = item, item.decision
                elif isinstance(item, GateFinished):
                    output = item.decision
        finally:
            await gate.aclose()
        verdicts = _merge(input_decision.verdicts, output.verdicts)
        self._count_verdicts(route.digest, profile.name, verdicts)
        self._metrics.triage.saved("triage", len(input_decision.skipped))
        if blocked is not None:
            if blocked.decision.outcome is Outcome.FAILED:
                raise RailFailed([v.rail for v in verdicts if v.outcome is Outcome.FAILED and v.enforced])
            tally.finish_reason = f"blocked_{blocked.direction.value.lower()}"
        yield await self._finish(
            request, route, profile, tally, verdicts, {**input_decision.scores, **output.scores}, input_ms
        )

    async def _contained(self, request: Request, route: Route, profile: Profile) -> Decision:
        # What is evaluated with the rails off has to reach the model.
        if self._instant is None or (request.priority >= EVALUATION and profile.name == OFF_PROFILE):
            return ALLOWED
        return await self._instant.check(
            request.messages, tenant=request.tenant, profile=profile.name, adapter=route.digest
        )

    async def _deltas(self, request: Request, route: Route, tally: Tally) -> AsyncIterator[str]:
        asked = EngineRequest(
            request_id=request.request_id,
            messages=request.messages,
            sampling=request.sampling,
            digest=route.digest,
            priority=request.priority,
            deadline=None if request.deadline is None else time.monotonic() + request.deadline,
        )
        evaluated = request.priority >= EVALUATION
        chunks = self._turns.answer(self._engine, asked) if evaluated else chunks_of(self._engine, self._swaps, asked)
        try:
            async for chunk in chunks:
                tally.prompt_tokens = chunk.prompt_tokens or tally.prompt_tokens
                if chunk.token_ids:
                    tally.completion_tokens += chunk.token_ids
                    tally.token_times.append(tally.since())
                if chunk.finish_reason:
                    tally.finish_reason = chunk.finish_reason
                tally.generated += chunk.text
                if chunk.text:
                    yield chunk.text
        finally:
            await chunks.aclose()

    async def _finish(
        self,
        request: Request,
        route: Route,
        profile: Profile,
        tally: Tally,
        verdicts: tuple[Verdict, ...],
        seen: dict[str, float],
        input_ms: float,
    ) -> Finished:
        blocked, evaluated = tally.finish_reason.startswith("blocked"), request.priority >= EVALUATION
        prompt = request.messages[-1].content
        scores: dict[str, float] = {}
        if not evaluated:
            # A blocked answer was never seen by anyone: what the rails scored is all there is to say about it.
            scores = await self._scores.complete(prompt, "" if blocked else tally.text, seen)
        done = Finished(
            finish_reason=tally.finish_reason,
            adapter_digest=route.digest,
            adapter_alias=route.alias,
            profile=profile.name,
            policy_version=profile.version,
            verdicts=verdicts,
            scores=scores,
            prompt_tokens=tally.prompt_tokens,
            completion_tokens=tally.completion_tokens,
            timings=Timings(
                input_rails_ms=input_ms,
                time_to_first_token_ms=(tally.first_text or tally.since()) * 1e3,
                output_rails_ms=sum(v.duration_ms for v in verdicts if v.direction.value == "OUTPUT"),
                total_ms=tally.since() * 1e3,
            ),
        )
        refusal = scores.get("refusal")
        self._metrics.request_finished(
            adapter=route.digest,
            profile=profile.name,
            finish_reason=tally.finish_reason,
            prompt_tokens=tally.prompt_tokens,
            completion_tokens=tally.completion_tokens,
            total_s=tally.since(),
            # Evaluations wait on purpose: their times are nobody's latency.
            ttft_s=None if evaluated else tally.first_text,
            inter_token_s=None if evaluated else tally.gaps(),
            toxicity=scores.get("toxicity"),
            refused=None if refusal is None else refusal >= self._scores.refusal_threshold,
        )
        tally.counted = True
        if not evaluated:
            self._capture.record(exchange_of(request, done, tally))
            self._comparison.answered(request, route, profile, done)
        return done

    def _count_verdicts(self, adapter: str, profile: str, verdicts: tuple[Verdict, ...]) -> None:
        self._metrics.triage.saved("cache", sum(v.cached for v in verdicts))
        for v in verdicts:
            if v.reason == CIRCUIT_OPEN:
                self._metrics.triage.circuit_refused()
            count = self._metrics.shadow_rail_verdict if v.shadow else self._metrics.rail_verdict
            count(
                profile=profile,
                rail=v.rail,
                direction=v.direction.value.lower(),
                outcome=v.outcome.value.lower(),
                seconds=v.duration_ms / 1e3,
                adapter=adapter,
            )


def _sticky(request: Request) -> Sticky:
    return sticky(
        tenant=request.tenant,
        principal=request.principal,
        conversation_id=request.conversation,
        messages=request.messages,
    )


def _merge(first: tuple[Verdict, ...], second: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """Input verdicts first, each once: a blocking input decision comes back from the gate as well."""
    known = {(v.direction, v.rail) for v in first}
    return first + tuple(v for v in second if (v.direction, v.rail) not in known)
