"""Tests that every rail should pass, for people who write one: `await check_rail(RAIL, blocks=[...], allows=[...])`.

Runs the rail as a server does, through NeMo's compiled path, without a server. It must not know any rail.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nemoguardrails import RailsConfig
from nemoguardrails.actions.rail_outcome import RailOutcome
from nemoguardrails.guardrails.compiled_rail import CompiledRail, RailCompilationError, RailDependencies, compile_rail
from nemoguardrails.llm.taskmanager import LLMTaskManager
from nemoguardrails.manifests import RailDirection, RailManifest, parse_configured_surface

from ratchet_plugins.nemo.catalog import merged_catalog
from ratchet_plugins.nemo.declaration import declaration
from ratchet_plugins.nemo.errors import NemoRailError

__all__ = ["ODD_TEXTS", "RailTestFailed", "check_rail"]

ODD_TEXTS = (
    "",
    " \n\t ",
    "a",
    "\u200b\u200d\ufeff",
    "\u202eright to left\u202c and \u05e9\u05dc\u05d5\u05dd",
    "e\u0301\u0301\u0301 \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001d54f",
    "\x00\x07\x1b[31m",
    "{{ user_input }} {% raw %} $x {0} %s <|im_start|>",
    "word " * 4_000,
    "x" * 20_000,
)
_LEAK_CHARS = 12
_CANCEL_SECONDS = 2


class RailTestFailed(AssertionError):
    """A rail does not do what a rail must.

    Attributes:
        problems: All that was found, one sentence each.
    """

    def __init__(self, rail: str, problems: Sequence[str]) -> None:
        super().__init__(f"{rail}:\n" + "\n".join(f"- {problem}" for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class _Run:
    """What a rail did with one text."""

    text: str
    outcome: RailOutcome | None
    error: str = ""

    @property
    def said(self) -> str:
        if self.outcome is None or self.outcome.failed:
            return f"failed ({self.error})" if self.error else "failed"
        return str(self.outcome.decision.value)


async def check_rail(
    manifest: RailManifest,
    *,
    flow: str = "",
    blocks: Sequence[str] = (),
    allows: Sequence[str] = (),
    rewrites: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    llms: Mapping[str, Any] | None = None,
    max_stall_ms: float = 250.0,
) -> None:
    """Check a rail.

    Args:
        manifest: What the entry point names.
        flow: As it would be configured, with parameters; the manifest's only surface without it.
        blocks: Texts it must block.
        allows: Texts it must let pass as they are.
        rewrites: Texts it must replace, with what by.
        config: The configuration it reads, as a mapping: `rails.config`, `custom_data`, prompts.
        llms: Models it may ask, by type, following `nemoguardrails.types.LLMModel`.
        max_stall_ms: How long one check may keep the event loop from everything else.

    Raises:
        RailTestFailed: It collides with another rail; does not compile; decides one of the examples wrongly; raises on
            an odd text; repeats the judged text in its verdict; decides differently when others are judged at the same
            time; cannot be cancelled; or keeps the event loop busy. All of what was found is named.
    """
    rewrites = rewrites or {}
    if not (blocks or rewrites) or not allows:
        raise RailTestFailed(manifest.name, ["Give texts that it must stop and texts that it must let pass."])
    rail, direction = _compiled(manifest, flow, config or {}, llms or {})
    wanted = {
        **dict.fromkeys(blocks, "block"),
        **dict.fromkeys(allows, "allow"),
        **dict.fromkeys(rewrites, "transform"),
    }
    alone = [await _run(rail, direction, text) for text in wanted]
    wrong = [run for run in alone if run.said != wanted[run.text]]
    problems = [f"{run.text[:60]!r} must be {wanted[run.text]}, and is {run.said}." for run in wrong]
    for run in alone:
        problems += _rewritten_wrongly(run, rewrites) + _leaks(run)
    odd = [await _run(rail, direction, text) for text in ODD_TEXTS]
    problems += [f"It {run.said} on {run.text[:30]!r}." for run in odd if run.said.startswith("failed")]
    problems += await _differs_under_load(rail, direction, alone)
    problems += await _stalls(rail, direction, [*wanted, *ODD_TEXTS], max_stall_ms)
    if problems:
        raise RailTestFailed(rail.surface_name, problems)


def _compiled(
    manifest: RailManifest, flow: str, config: Mapping[str, Any], llms: Mapping[str, Any]
) -> tuple[CompiledRail, RailDirection]:
    chosen = flow or (manifest.surfaces[0].name if len(manifest.surfaces) == 1 else "")
    if not chosen:
        names = ", ".join(repr(surface.name) for surface in manifest.surfaces)
        raise RailTestFailed(manifest.name, [f"It has several surfaces: say which flow to check ({names})."])
    try:
        name, parameters = parse_configured_surface(chosen)
        direction = next(surface.direction for surface in manifest.surfaces if surface.name == name)
        installed = merged_catalog()
        catalog = installed if installed.manifests.get(manifest.name) == manifest else merged_catalog([manifest])
        settings = RailsConfig.from_content(config={"models": [], **config})
        needs = RailDependencies(llms=dict(llms), llm_task_manager=LLMTaskManager(settings), config=settings)
        rail = compile_rail(chosen, direction, needs, catalog=catalog)
        check = declaration(rail._action).check
        if check is not None:
            check(parameters, settings)
    except StopIteration:
        raise RailTestFailed(manifest.name, [f"It has no surface {chosen!r}."]) from None
    except (NemoRailError, RailCompilationError, ValueError) as error:
        raise RailTestFailed(manifest.name, [str(error)]) from error
    return rail, direction


async def _run(rail: CompiledRail, direction: RailDirection, text: str) -> _Run:
    answer = direction is RailDirection.OUTPUT
    messages = [{"role": "user", "content": "hello" if answer else text}]
    try:
        return _Run(text, await rail.run(messages, text if answer else None))
    # Whatever a rail raises is what the check is for.
    except Exception as error:
        return _Run(text, None, type(error).__name__)


def _rewritten_wrongly(run: _Run, rewrites: Mapping[str, str]) -> list[str]:
    if run.outcome is None or not run.outcome.transforms or run.text not in rewrites:
        return []
    got, wanted = run.outcome.transforms[0].text, rewrites[run.text]
    return [] if got == wanted else [f"{run.text[:60]!r} becomes {got[:60]!r}, not {wanted[:60]!r}."]


def _leaks(run: _Run) -> list[str]:
    """The verdict goes to clients, receipts and flags; the text must not go with it."""
    if run.outcome is None:
        return []
    told = f"{run.outcome.reason} {run.outcome.metadata}"
    pieces = (run.text[at : at + _LEAK_CHARS] for at in range(max(1, len(run.text) - _LEAK_CHARS + 1)))
    leaked = next((piece for piece in pieces if len(piece) == _LEAK_CHARS and piece in told), None)
    return [f"Its reason or metadata repeats the judged text ({leaked!r})."] if leaked else []


async def _differs_under_load(rail: CompiledRail, direction: RailDirection, alone: Sequence[_Run]) -> list[str]:
    together = await asyncio.gather(*(_run(rail, direction, run.text) for run in [*alone, *reversed(alone)]))
    expected = {run.text: run.said for run in alone}
    changed = {run.text for run in together if run.said != expected[run.text]}
    return [f"{text[:60]!r} is decided differently while others are judged." for text in sorted(changed)]


async def _stalls(rail: CompiledRail, direction: RailDirection, texts: Sequence[str], max_stall_ms: float) -> list[str]:
    worst = 0.0
    stop = asyncio.Event()

    async def tick() -> None:
        nonlocal worst
        while not stop.is_set():
            before = time.perf_counter()
            await asyncio.sleep(0)
            worst = max(worst, (time.perf_counter() - before) * 1e3)

    ticking = asyncio.create_task(tick())
    for text in texts:
        await _run(rail, direction, text)
        check = asyncio.create_task(_run(rail, direction, text))
        await asyncio.sleep(0)
        check.cancel()
        done, _ = await asyncio.wait({check}, timeout=_CANCEL_SECONDS)
        if not done:
            stop.set()
            await ticking
            return [f"A check that is cancelled goes on for over {_CANCEL_SECONDS} s."]
    stop.set()
    await ticking
    if worst > max_stall_ms:
        return [f"It kept the event loop busy for {worst:.0f} ms; run what takes long in a thread (asyncio.to_thread)."]
    return []
