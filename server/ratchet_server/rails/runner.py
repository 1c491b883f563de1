"""Runs the rails of one side: deadline and fail mode per rail, three-valued verdicts, one decision.

It must not know where rails come from, nor what happens to a text after the decision.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ratchet_plugins.nemo.context import PARTIAL, SCORING, TURNS, Scoring
from ratchet_server.rails.lane import CircuitOpen, Lane, LaneFull
from ratchet_server.rails.verdict import ALLOWED, Decision, Direction, Outcome, RailResult, Verdict
from ratchet_server.rails.verdictcache import VerdictCache

__all__ = ["CIRCUIT_OPEN", "GuardRail", "RailBody", "RailRunner"]

CIRCUIT_OPEN = "the rail has kept failing and is not asked for a while"


@dataclass(frozen=True, slots=True)
class _Judged:
    """What one rail said, the scores it saw, and the text it wants instead."""

    verdict: Verdict
    scores: Mapping[str, float]
    rewritten: str | None = None
    clear: bool = False


class RailBody(Protocol):
    """What a rail runs."""

    async def execute(self, messages: Sequence[dict[str, str]], text: str | None) -> RailResult:
        """Judge one text. May raise anything."""
        ...


@dataclass(frozen=True, slots=True)
class GuardRail:
    """A rail with its place and its fail mode.

    Attributes:
        flow: The flow as configured.
        timeout_s: Seconds after which it has failed.
        fail_open: Whether its failure lets the text pass.
        own_context: Run it in a task of its own: NeMo's model calls set context variables that would stay.
        rewrites: Let it replace the text; otherwise a rail that wants to blocks.
        shadow: Record what it says and let it stop nothing.
        clear_below: The score under which a prompt is plainly benign; None: it clears nothing.
        only_when_unsure: Skip it for prompts that are plainly benign.
        cacheable: The same text gets the same verdict, whatever is swapped meanwhile.
        lane: Bounds what is under way.
    """

    flow: str
    body: RailBody
    timeout_s: float
    fail_open: bool = False
    own_context: bool = False
    rewrites: bool = False
    shadow: bool = False
    clear_below: float | None = None
    only_when_unsure: bool = False
    cacheable: bool = False
    lane: Lane = field(default_factory=Lane, compare=False)


@dataclass(frozen=True, slots=True)
class RailRunner:
    """The rails of one side of one profile. Holds no text of any request.

    Attributes:
        parallel: Run them at the same time; the first one that stops the text cancels the others. Otherwise one after
            the other, in the order of the configuration, until one stops it; each sees what the ones before it made
            of the text.

    Raises:
        ValueError: A rail that may rewrite is to run at the same time as others.
    """

    direction: Direction
    rails: tuple[GuardRail, ...]
    scoring: Scoring
    max_text_chars: int
    parallel: bool = False
    names: tuple[str, ...] = field(init=False)
    cache: VerdictCache = field(default_factory=VerdictCache, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(rail.flow for rail in self.rails))
        if self.parallel and any(rail.rewrites or rail.only_when_unsure for rail in self.rails):
            raise ValueError("rails that rewrite the text, or wait for triage, cannot run at the same time as others")

    async def check(
        self, messages: Sequence[dict[str, str]], text: str | None, judged_chars: int, *, partial: bool = False
    ) -> Decision:
        """Judge one text.

        Args:
            messages: The conversation, as `turn_to_judge` returns it.
            text: The answer, for output rails.
            judged_chars: Length of the text under judgement.
            partial: More of the answer will follow.

        Returns:
            The decision. Nothing a rail does makes this raise; cancelling it cancels the rails.
        """
        if not self.rails:
            return ALLOWED
        if judged_chars > self.max_text_chars:
            return self._too_long(judged_chars)
        scoring, growing = SCORING.set(self.scoring), PARTIAL.set(partial)
        turns = TURNS.set(tuple(message["content"] for message in messages if message["role"] == "user"))
        try:
            judged = await (self._together if self.parallel else self._in_turn)(messages, text)
        finally:
            TURNS.reset(turns)
            PARTIAL.reset(growing)
            SCORING.reset(scoring)
        scores: dict[str, float] = {}
        for each in judged:
            for name, value in each.scores.items():
                scores[name] = max(value, scores.get(name, 0.0))
        rewritten = next((each.rewritten for each in reversed(judged) if each.rewritten is not None), None)
        decision = Decision.of([each.verdict for each in judged], scores, rewritten)
        if not any(each.clear for each in judged) or decision.outcome is not Outcome.ALLOW:
            return decision
        return replace(decision, skipped=tuple(rail.flow for rail in self.rails if rail.only_when_unsure))

    async def _in_turn(self, messages: Sequence[dict[str, str]], text: str | None) -> list[_Judged]:
        judged: list[_Judged] = []
        clear = False
        for rail in self.rails:
            if clear and rail.only_when_unsure:
                continue
            judged.append(await self._run(rail, messages, text))
            if _stops(judged[-1].verdict):
                break
            clear = clear or judged[-1].clear
            if judged[-1].rewritten is not None:
                messages, text = self._with(judged[-1].rewritten, messages, text)
        return judged

    async def _together(self, messages: Sequence[dict[str, str]], text: str | None) -> list[_Judged]:
        tasks = [asyncio.create_task(self._run(rail, messages, text)) for rail in self.rails]
        waiting = set(tasks)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if any(_stops(task.result().verdict) for task in done):
                    break
        finally:
            for task in waiting:
                task.cancel()
            if waiting:
                await asyncio.gather(*waiting, return_exceptions=True)
        return [task.result() for task in tasks if not task.cancelled()]

    async def _run(self, rail: GuardRail, messages: Sequence[dict[str, str]], text: str | None) -> _Judged:
        begin = time.perf_counter()
        result, cached = await self._known_or_run(rail, messages, text)
        elapsed_ms = (time.perf_counter() - begin) * 1e3
        verdict = Verdict(
            rail.flow,
            self.direction,
            result.outcome,
            result.reason,
            result.score,
            result.threshold,
            elapsed_ms,
            enforced=not (rail.shadow or (rail.fail_open and result.outcome is Outcome.FAILED)),
            shadow=rail.shadow,
            rewrote=result.rewritten is not None,
            cached=cached,
            spans=result.spans,
        )
        prefix = "input_" if self.direction is Direction.INPUT else ""
        scores = {f"{prefix}{name}": value for name, value in (result.scores or {}).items()}
        return _Judged(verdict, scores, result.rewritten, _clears(rail, result))

    async def _known_or_run(
        self, rail: GuardRail, messages: Sequence[dict[str, str]], text: str | None
    ) -> tuple[RailResult, bool]:
        # The beginnings of a growing answer are judged once each.
        if not rail.cacheable or PARTIAL.get():
            return await self._result(rail, messages, text), False
        digest = self.cache.digest(messages, text)
        known = self.cache.get(rail.flow, digest)
        if known is not None:
            return known, True
        result = await self._result(rail, messages, text)
        self.cache.put(rail.flow, digest, result)
        return result, False

    def _with(
        self, rewritten: str, messages: Sequence[dict[str, str]], text: str | None
    ) -> tuple[Sequence[dict[str, str]], str | None]:
        if self.direction is Direction.OUTPUT:
            return messages, rewritten
        return [*messages[:-1], {**messages[-1], "content": rewritten}], text

    async def _result(self, rail: GuardRail, messages: Sequence[dict[str, str]], text: str | None) -> RailResult:
        try:
            async with asyncio.timeout(rail.timeout_s) as deadline, rail.lane.place():
                call = rail.body.execute(messages, text)
                result = await (asyncio.create_task(call) if rail.own_context else call)
        except CircuitOpen:
            return RailResult(Outcome.FAILED, CIRCUIT_OPEN)
        except LaneFull:
            return RailResult(Outcome.FAILED, "too many checks wait for the rail")
        except TimeoutError:
            rail.lane.failed()
            return RailResult(Outcome.FAILED, f"no verdict within {rail.timeout_s:g} s")
        # Whatever a rail raises, it has failed. Only the kind is reported: the message may quote the text.
        except Exception as error:
            rail.lane.failed()
            return RailResult(Outcome.FAILED, f"the rail raised {type(error).__name__}")
        # A rail that swallows its cancellation returns late, and too late is failed.
        if deadline.expired():
            rail.lane.failed()
            return RailResult(Outcome.FAILED, f"no verdict within {rail.timeout_s:g} s")
        sane = _sane(result, rewrites=rail.rewrites and not PARTIAL.get())
        (rail.lane.failed if sane.outcome is Outcome.FAILED else rail.lane.answered)()
        return sane

    def _too_long(self, judged_chars: int) -> Decision:
        reason = f"the text has {judged_chars} characters; {self.max_text_chars} can be judged"
        return Decision.of([Verdict(flow, self.direction, Outcome.FAILED, reason) for flow in self.names], {})


def _clears(rail: GuardRail, result: RailResult) -> bool:
    """Whether a rail is sure that a prompt is benign: it gave a score, and none of its scores reaches the bar."""
    if rail.clear_below is None or result.score is None or result.outcome is not Outcome.ALLOW:
        return False
    return max([result.score, *(result.scores or {}).values()]) < rail.clear_below


def _stops(verdict: Verdict) -> bool:
    return verdict.enforced and verdict.outcome is not Outcome.ALLOW


def _sane(result: object, *, rewrites: bool) -> RailResult:
    if not isinstance(result, RailResult):
        return RailResult(Outcome.FAILED, f"the rail returned a {type(result).__name__}")
    values = [*(result.scores or {}).values(), *([result.score] if result.score is not None else [])]
    if not all(0.0 <= value <= 1.0 for value in values):
        return RailResult(Outcome.FAILED, "the rail returned a score outside [0, 1]")
    if result.rewritten is not None and not rewrites:
        reason = "the rail wants to rewrite the text, which is not done here"
        return RailResult(Outcome.BLOCK, reason, spans=result.spans)
    return result
