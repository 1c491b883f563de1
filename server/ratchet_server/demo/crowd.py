"""Streaming clients that talk to the server all the while, and what became of each of their requests.

A request counts as failed if the call ends in anything but a whole answer. Must not know why the server is busy.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ratchet.client import AsyncRatchet, Done, RatchetError


@dataclass(frozen=True)
class Talk:
    """One streamed request. Times are `time.perf_counter()` seconds."""

    kind: str
    prompt: str
    text: str
    started: float
    ended: float
    first_text: float | None = None
    digest: str = ""
    finish_reason: str = ""
    refusal: float | None = None
    toxicity: float | None = None
    rails: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Ask:
    """What a client says."""

    kind: str
    prompt: str


class Crowd:
    """Clients as asyncio tasks over one channel."""

    def __init__(self, address: str, *, max_tokens: int) -> None:
        self._client = AsyncRatchet(address)
        self._max_tokens = max_tokens
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._number = itertools.count()
        self.talks: list[Talk] = []

    async def ask(self, ask: Ask, **options: str) -> Talk:
        """One greedy streamed request; recorded whatever becomes of it."""
        started = time.perf_counter()
        text, first, done, error = "", None, None, ""
        principal = f"user-{next(self._number) % 200}"
        try:
            stream = self._client.stream(
                ask.prompt,
                temperature=0.0,
                max_tokens=self._max_tokens,
                principal=principal,
                **options,  # type: ignore[arg-type]
            )
            async for event in stream:
                if isinstance(event, Done):
                    done = event
                else:
                    first = first or time.perf_counter()
                    text += event.text
            error = "" if done else "the stream ended without a receipt"
        except RatchetError as failure:
            error = f"{failure.code.name}: {failure.detail}"
        talk = Talk(ask.kind, ask.prompt, text, started, time.perf_counter(), first, error=error)
        if done is not None:
            receipt = done.receipt
            scores = receipt.scores
            talk = Talk(
                ask.kind,
                ask.prompt,
                text,
                started,
                time.perf_counter(),
                first,
                digest=receipt.adapter_digest,
                finish_reason=done.finish_reason,
                refusal=scores.refusal if scores.HasField("refusal") else None,
                toxicity=scores.toxicity if scores.HasField("toxicity") else None,
                rails=tuple(v.rail for v in receipt.verdicts if v.outcome != 1),
            )
        self.talks.append(talk)
        return talk

    async def send(self, asks: Iterable[Ask], *, at_once: int, **options: str) -> list[Talk]:
        """All of them, a bounded number at a time."""
        slots = asyncio.Semaphore(at_once)

        async def one(ask: Ask) -> Talk:
            async with slots:
                return await self.ask(ask, **options)

        return list(await asyncio.gather(*(one(ask) for ask in asks)))

    def start(self, asks: Sequence[Ask], *, clients: int, pause: float) -> None:
        """Clients that talk until `stop`, each with `pause` seconds between requests."""

        async def client(number: int) -> None:
            choice = random.Random(number)
            while not self._stopping.is_set():
                await self.ask(choice.choice(asks))
                try:
                    await asyncio.wait_for(self._stopping.wait(), pause)
                except TimeoutError:
                    continue

        self._tasks = [asyncio.create_task(client(n), name=f"client-{n}") for n in range(clients)]

    async def stop(self) -> None:
        """Lets each client finish its request."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        await self._client.close()

    @property
    def failed(self) -> list[Talk]:
        """Requests that did not end in a whole answer."""
        return [talk for talk in self.talks if talk.error]
