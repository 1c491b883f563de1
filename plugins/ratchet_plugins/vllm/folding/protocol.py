"""The caller's side of folding: which calls in which order, for Ratchet's engine and for a stock `AsyncLLM` alike.

    from ratchet_plugins.vllm.folding.protocol import build, install

    ask = lambda name, *arguments: llm.collective_rpc(name, args=arguments)
    await build(ask, adapter.lora_int_id)         # beside the live weights; streams go on
    await llm.add_lora(folded)                    # the same folder under a new name and id
    await install(ask, folded.lora_int_id)        # one assignment between two steps
    ... llm.generate(..., lora_request=folded)    # the adapter at the base model's speed

The new name and id keep the two apart where they differ in rounding: in vLLM's prefix cache and in what an answer is
said to come from. It must not import vLLM.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ratchet_plugins.vllm.folding.errors import FoldRefused, FoldUnsupported

__all__ = ["Ask", "Built", "build", "drop", "install", "self_test"]

Ask = Callable[..., Awaitable[Sequence[Any]]]
"""Calls a method of the workers by name and returns one answer per worker."""

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Built:
    """A fold that was built and checked.

    Attributes:
        modules: Linear modules merged.
        seconds: From the beginning until it was built.
    """

    modules: int
    seconds: float


async def self_test(ask: Ask) -> None:
    """Return when the engine can fold.

    Raises:
        FoldUnsupported: It cannot; says why.
    """
    for problem in await ask("ratchet_fold_self_test"):
        if problem:
            raise FoldUnsupported(problem)


async def build(ask: Ask, adapter_id: int) -> Built:
    """Merge a loaded adapter beside the live weights and check the result against them.

    Args:
        ask: Calls the workers.
        adapter_id: The adapter's `lora_int_id`.

    Raises:
        FoldRefused: It cannot be folded, or the check failed; nothing was changed.
    """
    _refuse(await ask("ratchet_fold_begin", adapter_id))
    try:
        while True:
            (progress,) = await ask("ratchet_fold_progress")
            _refuse([progress["problem"]])
            if progress["done"]:
                break
            await asyncio.sleep(_POLL_SECONDS)
        checked: dict[str, Any] = {"left": 1}
        while checked["left"]:
            (checked,) = await ask("ratchet_fold_check")
            _refuse([checked["problem"]])
    except BaseException:
        await asyncio.shield(asyncio.ensure_future(ask("ratchet_fold_cancel")))
        raise
    return Built(int(progress["modules"]), float(progress["seconds"]))


async def install(ask: Ask, adapter_id: int) -> None:
    """Serve an adapter from what `build` made, from the next step on.

    Args:
        ask: Calls the workers.
        adapter_id: An adapter of the same content; requests on it must not have begun.

    Raises:
        FoldRefused: There is nothing built and checked.
    """
    _refuse(await ask("ratchet_fold_install", adapter_id))


async def drop(ask: Ask, adapter_id: int) -> None:
    """Free a fold; the adapter is served as a LoRA again."""
    await ask("ratchet_fold_drop", adapter_id)


def _refuse(problems: Sequence[str]) -> None:
    for problem in problems:
        if problem:
            raise FoldRefused(problem)
