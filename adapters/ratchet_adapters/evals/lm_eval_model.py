"""lm-eval (EleutherAI's harness) as a runner of anything Ratchet has no suite for, over our gRPC services.

It must not define tasks. Needs the package `lm_eval`. Answers are the served model's to a single user message, since
the server speaks the model's chat template: compare generated tasks with runs that apply one. Everything is greedy and
at evaluation priority, like all evaluation here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from lm_eval.api.model import LM

from ratchet_adapters.evals.remote import RemoteTarget
from ratchet_adapters.evals.settings import EvalSettings
from ratchet_adapters.evals.target import BASE, LogProb

__all__ = ["RatchetLM", "windows"]

_GREEDY_GAP = 1e-4
"""Nats by which the given token may fall behind the likeliest one and still be the greedy choice."""
_LENGTH = 256
_Result = TypeVar("_Result")


class RatchetLM(LM):  # type: ignore[misc]
    """A model behind a Ratchet server as lm-eval's LM.

    Args:
        address: host:port of the server.
        adapter: Digest of an adapter; "base" for the model alone.
        window: Characters of text that are scored at a time in `loglikelihood_rolling`, given as many before them.
        settings: Concurrency, batches and deadlines.
    """

    def __init__(
        self, address: str, adapter: str = BASE, *, window: int = 2000, settings: EvalSettings | None = None
    ) -> None:
        super().__init__()
        self._address = address
        self._adapter = adapter
        self._window = window
        self._settings = settings or EvalSettings()

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return (nats, whether greedy decoding would have written it) of each continuation given its context.

        Raises:
            TargetUnavailable, TargetRefused, AttributionError: As `EvalTarget.score`.
        """
        pairs = [(str(request.args[0]), str(request.args[1])) for request in requests]
        found = self._score(pairs)
        return [(entry.log_prob, entry.worst_gap <= _GREEDY_GAP) for entry in found]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the nats of each whole text; long ones in windows, each given the one before it.

        Raises:
            TargetUnavailable, TargetRefused, AttributionError: As `EvalTarget.score`.
        """
        parts = [windows(str(request.args[0]), self._window) for request in requests]
        entries = iter(self._score([pair for own in parts for pair in own]))
        return [sum(next(entries).log_prob for _ in own) for own in parts]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return the greedy answer to each prompt, cut at the first stop text.

        Raises:
            ValueError: A task asks for sampling; answers here are greedy.
            TargetUnavailable, TargetRefused, AttributionError: As `EvalTarget.generate`.
        """
        asked = [(str(request.args[0]), dict(request.args[1])) for request in requests]
        for _, how in asked:
            if how.get("do_sample") and float(how.get("temperature", 1.0)) > 0:
                raise ValueError("A task asks for sampling; RatchetLM answers greedily. Set do_sample to false.")
        lengths = [int(how.get("max_gen_toks", _LENGTH)) for _, how in asked]
        texts = [""] * len(asked)
        for length in sorted(set(lengths)):
            rows = [index for index, own in enumerate(lengths) if own == length]
            answers = self._answers([asked[index][0] for index in rows], length)
            for index, answer in zip(rows, answers, strict=True):
                texts[index] = _until(answer, asked[index][1].get("until"))
        return texts

    def _score(self, pairs: Sequence[tuple[str, str]]) -> list[LogProb]:
        return self._with(lambda target: target.score(pairs, adapter=self._adapter)) if pairs else []

    def _answers(self, prompts: Sequence[str], length: int) -> list[str]:
        return self._with(lambda target: target.generate(prompts, adapter=self._adapter, max_tokens=length))

    def _with(self, ask: Callable[[RemoteTarget], Awaitable[_Result]]) -> _Result:
        async def call() -> _Result:
            async with RemoteTarget(self._address, settings=self._settings) as target:
                return await ask(target)

        return asyncio.run(call())


def windows(text: str, size: int) -> list[tuple[str, str]]:
    """Return (context, part) for the parts of a text, cut at spaces where there are any; together they are the text."""
    parts, start = [], 0
    while start < len(text):
        end = min(len(text), start + size)
        if end < len(text):
            # Before the space: a part that goes on within a sentence begins with its space.
            space = text.rfind(" ", start + 1, end)
            end = space if space > start else end
        parts.append(text[start:end])
        start = end
    return [("".join(parts[max(0, at - 1) : at]), part) for at, part in enumerate(parts)]


def _until(text: str, stops: str | Sequence[str] | None) -> str:
    places = [text.find(stop) for stop in ([stops] if isinstance(stops, str) else stops or ()) if stop]
    found = [place for place in places if place >= 0]
    return text[: min(found)] if found else text
