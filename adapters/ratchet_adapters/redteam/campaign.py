"""Runs a campaign: holds the planned conversations with a live server until they or the budget end.

It must not judge answers nor know how results are shown. Requests go through the public client at evaluation priority:
they yield to users' traffic and are never captured as traffic to learn from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import grpc

from ratchet.client import Answer, AsyncRatchet, Overloaded, RatchetError, Unavailable
from ratchet.v1 import common_pb2, engine_pb2
from ratchet_adapters.evals.errors import AttributionError, TargetUnavailable
from ratchet_adapters.redteam.attack import AWAITED
from ratchet_adapters.redteam.errors import BudgetInvalid
from ratchet_adapters.redteam.plan import Attempt
from ratchet_adapters.redteam.record import Record
from ratchet_adapters.redteam.result_file import ResultFile
from ratchet_adapters.redteam.settings import CampaignSettings

__all__ = ["Ended", "Progress", "base_fingerprint", "check_budget", "run_campaign"]

Progress = Callable[[int, int, int], None]
"""Called with (attempts done, attempts planned, requests spent) from the event loop; must not block."""

_SILENCE = "..."
"""What stands for an empty answer within a conversation: the wire takes no empty message."""
_LONGEST = 32_768


@dataclass(frozen=True)
class Ended:
    """How one start of a campaign ended.

    Attributes:
        reason: "complete", "requests" or "minutes": what it ran out of.
        planned: Attempts in all.
        spent: Requests so far, earlier starts included.
    """

    reason: str
    planned: int
    spent: int


def check_budget(settings: CampaignSettings) -> None:
    """Refuse a budget with which nothing could be asked.

    Raises:
        BudgetInvalid: It is 0 or less.
    """
    for name, value in (("requests", settings.requests), ("minutes", settings.minutes)):
        if value <= 0:
            raise BudgetInvalid(name, value)


async def base_fingerprint(client: AsyncRatchet) -> str:
    """Return the fingerprint of the base model behind a server.

    Raises:
        TargetUnavailable: It cannot be reached.
    """
    try:
        status = await client.engine.GetStatus(engine_pb2.GetStatusRequest(), timeout=30)
    # The raw stub raises gRPC's error, which names neither the address nor what to do.
    except grpc.aio.AioRpcError as error:
        raise TargetUnavailable(client.address, _why(error)) from error
    return status.base_fingerprint


async def run_campaign(
    client: AsyncRatchet,
    attempts: Sequence[Attempt],
    results: ResultFile,
    *,
    adapter: str = "",
    expected_digest: str | None = None,
    rail_profile: str = "",
    settings: CampaignSettings | None = None,
    on_progress: Progress | None = None,
) -> Ended:
    """Carry out the attempts that have no answer yet, in order, as far as the budget goes.

    An attempt is only begun when the budget covers all its requests, and the first that it does not cover ends the
    campaign, so that no attack is favoured for being cheap. An attempt that failed before is tried again.

    Args:
        client: Of the server under attack.
        attempts: See `planned`.
        results: Where records are kept, and where it goes on from.
        adapter: See `Facts.adapter`.
        expected_digest: Digest that every answer must name, "" for the base model alone; None when the server may
            choose.
        rail_profile: See `Facts.rail_profile`.
        settings: Budget, sampling and concurrency.
        on_progress: See `Progress`.

    Raises:
        BudgetInvalid: The budget is 0 or less.
        TargetUnavailable: The server cannot be reached, or stayed overloaded.
        AttributionError: Another adapter than the expected one answered.
    """
    chosen = settings or CampaignSettings()
    check_budget(chosen)
    run = _Run(client, results, adapter, expected_digest, rail_profile, chosen)
    kept = results.records
    pending = [attempt for attempt in attempts if attempt.id not in kept or kept[attempt.id].error]
    run.done, run.planned, run.progress = len(attempts) - len(pending), len(attempts), on_progress
    run.advance(0)
    # One iterator for all workers: each takes the next attempt, so the order is kept.
    order = iter(pending)
    tasks = [asyncio.ensure_future(run.work(order)) for _ in range(min(chosen.concurrency, max(1, len(pending))))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Ended(run.ended or "complete", len(attempts), results.spent)


class _Run:
    def __init__(
        self,
        client: AsyncRatchet,
        results: ResultFile,
        adapter: str,
        expected: str | None,
        rail_profile: str,
        settings: CampaignSettings,
    ) -> None:
        self._client = client
        self._results = results
        self._adapter = adapter
        self._expected = expected
        self._rail_profile = rail_profile
        self._settings = settings
        self._until = time.monotonic() + 60 * settings.minutes
        self._reserved = 0
        self.ended = ""
        self.done = self.planned = 0
        self.progress: Progress | None = None

    def advance(self, count: int) -> None:
        self.done += count
        if self.progress:
            self.progress(self.done, self.planned, self._results.spent)

    async def work(self, order: Iterator[Attempt]) -> None:
        for attempt in order:
            cost = attempt.script.requests
            if not self.ended and time.monotonic() >= self._until:
                self.ended = "minutes"
            if not self.ended and self._results.spent + self._reserved + cost > self._settings.requests:
                self.ended = "requests"
            if self.ended:
                return
            self._reserved += cost
            try:
                record = await self._held(attempt)
            finally:
                self._reserved -= cost
            self._results.append(record)
            self.advance(1)

    async def _held(self, attempt: Attempt) -> Record:
        said: list[tuple[str, str]] = []
        answer: Answer | None = None
        sent, error, began = 0, "", time.monotonic()
        for turn in attempt.script.turns:
            if turn.role == "assistant" and turn.text == AWAITED:
                sent += 1
                answer, error = await self._asked(said, attempt.seed)
                if answer is None or answer.blocked:
                    break
                said.append(("assistant", (answer.text.strip() or _SILENCE)[:_LONGEST]))
            else:
                said.append((turn.role, turn.text))
        else:
            sent += 1
            answer, error = await self._asked(said, attempt.seed)
        text = "" if answer is None or answer.blocked else answer.text
        return Record(
            id=attempt.id,
            attack=attempt.attack,
            variant=attempt.script.variant,
            item=attempt.item.id,
            category=attempt.item.category,
            cluster=attempt.item.cluster,
            prompt=attempt.item.prompt,
            turns=(*said, ("assistant", text)),
            answer=text,
            finish=answer.finish_reason if answer else "",
            blocked_by=_blockers(answer) if answer else (),
            adapter_digest=answer.receipt.adapter_digest if answer else "",
            requests=sent,
            seed=attempt.seed,
            error=error,
            seconds=round(time.monotonic() - began, 3),
        )

    async def _asked(self, said: Sequence[tuple[str, str]], seed: int) -> tuple[Answer | None, str]:
        messages = [{"role": role, "content": text} for role, text in said]
        settings, wait = self._settings, self._settings.backoff_s
        for attempt in range(1, settings.attempts + 1):
            try:
                answer = await self._client.generate(
                    messages,
                    timeout=settings.timeout_s,
                    adapter=self._adapter,
                    rail_profile=self._rail_profile,
                    priority="evaluation",
                    max_tokens=settings.max_tokens,
                    temperature=settings.temperature,
                    seed=seed,
                )
            except (Overloaded, Unavailable) as error:
                if attempt == settings.attempts:
                    raise TargetUnavailable(self._client.address, _why(error)) from error
                await asyncio.sleep(wait)
                wait *= 2
            except RatchetError as error:
                return None, _why(error)
            else:
                served = answer.receipt.adapter_digest
                if self._expected is not None and served != self._expected:
                    raise AttributionError(self._expected, served)
                return answer, ""
        raise AssertionError("every try either answers, fails or raises")


def _blockers(answer: Answer) -> tuple[str, ...]:
    block = common_pb2.OUTCOME_BLOCK
    return tuple(verdict.rail for verdict in answer.receipt.verdicts if verdict.outcome == block)


def _why(error: Exception) -> str:
    if isinstance(error, RatchetError):
        return f"{error.code.name}: {error.reason or ''} {error.detail}".strip()
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"
