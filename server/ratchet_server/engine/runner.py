"""Runs single requests on a core: admission, deadline, abort and the count of what is under way.

It must not know chats, the life of the core or how adapters get loaded.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ratchet_server.engine.core import Core, translated
from ratchet_server.engine.engine import Chunk, EngineRequest, LogProb, Sampling
from ratchet_server.engine.errors import DeadlineExceeded, EngineUnavailable, PromptTooLong, RequestInvalid
from ratchet_server.engine.scoring import TokenBudget
from ratchet_server.engine.settings import EngineSettings
from ratchet_server.engine.slots import AdapterSlots

__all__ = ["RequestRunner"]


class RequestRunner:
    """What is under way on one engine."""

    def __init__(
        self, settings: EngineSettings, slots: AdapterSlots, core: Callable[[], Core], name: Callable[[str], str]
    ) -> None:
        """Create a runner.

        Args:
            settings: Limits.
            slots: Admits requests on adapters.
            core: Gives the running core. Raises EngineUnavailable.
            name: Under which name of the slots a request on a digest is admitted now.
        """
        self._settings = settings
        self._slots = slots
        self._core = core
        self._name = name
        self._serving = 0
        self._scoring = 0
        self._budget = TokenBudget(lambda: settings.score_tokens_busy if self._serving else settings.score_tokens_idle)

    @property
    def waiting(self) -> int:
        """Requests that wait for an adapter slot or for their turn to be scored."""
        return self._slots.waiting + self._budget.waiting

    @property
    def running(self) -> int:
        """Requests handed to the core and not done."""
        return max(0, self._serving + self._scoring - self.waiting)

    async def generate(self, request: EngineRequest, token_ids: list[int]) -> AsyncGenerator[Chunk, None]:
        """Stream one answer to a rendered prompt; see `Engine.generate`."""
        core = self._core()
        self._check(token_ids, 0)
        with translated(request.request_id):
            params = self._params(request.sampling, len(token_ids))
        self._serving += 1
        try:
            async with self._admitted(request) as lora:
                outputs = core.stream(request.request_id, token_ids, params, lora, request.priority)
                try:
                    while True:
                        async with _deadline(request):
                            output = await anext(outputs, None)
                        if output is None:
                            return
                        answer = output.outputs[0]
                        yield Chunk(answer.text, len(answer.token_ids), answer.finish_reason, len(token_ids))
                finally:
                    await outputs.aclose()
        finally:
            self._serving -= 1

    async def score(self, pairs: Sequence[tuple[list[int], list[int]]], digest: str, priority: int) -> list[LogProb]:
        """Log-probabilities of token continuations, in order; the first error ends the call and aborts the rest.

        Args:
            pairs: (context, continuation) token ids, neither empty.
            digest: The adapter; "" is the base model alone.
            priority: In the core's queue.
        """
        self._core()
        for before, after in pairs:
            self._check(before, len(after))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._score_one(before, after, digest, priority)) for before, after in pairs]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _score_one(self, before: list[int], after: list[int], digest: str, priority: int) -> LogProb:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        # vLLM must make at least one token; the prompt's log-probabilities are its own tokens' and the likeliest one's.
        params = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            prompt_logprobs=1,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        token_ids = before + after
        request = EngineRequest(f"score-{uuid.uuid4().hex}", digest=digest, priority=priority)
        self._scoring += 1
        try:
            async with self._budget.spend(len(token_ids)), self._admitted(request) as lora:
                async for output in self._core().stream(request.request_id, token_ids, params, lora, priority):
                    if output.prompt_logprobs is not None:
                        return _log_prob(output.prompt_logprobs[len(before) :], after)
            raise EngineUnavailable("the core gave no log-probabilities")
        finally:
            self._scoring -= 1

    def _check(self, token_ids: list[int], more: int) -> None:
        if not token_ids:
            raise RequestInvalid("the prompt has no tokens")
        if len(token_ids) + more >= self._settings.max_model_len:
            raise PromptTooLong(len(token_ids) + more, self._settings.max_model_len)

    def _params(self, sampling: Sampling, prompt_tokens: int) -> Any:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        return SamplingParams(
            max_tokens=min(sampling.max_tokens, self._settings.max_model_len - prompt_tokens),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=sampling.seed,
            stop=list(sampling.stop),
            repetition_penalty=sampling.repetition_penalty,
            ignore_eos=sampling.ignore_eos,
            output_kind=RequestOutputKind.DELTA,
        )

    @asynccontextmanager
    async def _admitted(self, request: EngineRequest) -> AsyncIterator[tuple[str, int, Path] | None]:
        if not request.digest:
            yield None
            return
        async with _deadline(request):
            lease = await self._slots.acquire(self._name(request.digest), request.priority)
        try:
            yield lease.digest, lease.adapter_id, lease.folder
        finally:
            lease.release()


def _log_prob(rows: Sequence[dict[int, Any]], token_ids: list[int]) -> LogProb:
    own = [float(row[token].logprob) for row, token in zip(rows, token_ids, strict=True)]
    best = [max(float(entry.logprob) for entry in row.values()) for row in rows]
    gaps = [top - mine for top, mine in zip(best, own, strict=True)]
    return LogProb(sum(own), len(own), max(gaps))


@asynccontextmanager
async def _deadline(request: EngineRequest) -> AsyncIterator[None]:
    if request.deadline is None:
        yield
        return
    scope = asyncio.timeout_at(asyncio.get_running_loop().time() + request.deadline - time.monotonic())
    try:
        async with scope:
            yield
    except TimeoutError:
        if scope.expired():
            raise DeadlineExceeded(request.request_id) from None
        raise
