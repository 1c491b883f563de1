"""The only door to NeMo Guardrails: its configuration model, its rail catalog, and one rail compiled and run.

Nothing else in the server imports nemoguardrails. It must not know profiles, streaming or verdicts. Only the compiled
rail path is used: `LLMRails` replays its whole event history per request, streams text before it is judged, keeps one
user's context for the next, and runs an `actions.py` found in the current folder.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Read by NeMo when it is imported; without them it reports usage to its vendor and logs whole prompts.
os.environ["NEMO_GUARDRAILS_NO_USAGE_STATS"] = "1"
os.environ["DO_NOT_TRACK"] = "1"

from nemoguardrails import RailsConfig
from nemoguardrails.actions.rail_outcome import RailOutcome, TransformTarget
from nemoguardrails.guardrails.compiled_rail import (
    CompiledRail,
    RailCompilationError,
    RailDependencies,
    compile_rail,
)
from nemoguardrails.llm.taskmanager import LLMTaskManager
from nemoguardrails.manifests import (
    RailCatalog,
    RailDirection,
    RailManifest,
    parse_configured_surface,
    resolve_import_ref,
)
from nemoguardrails.types import LLMResponse, LLMResponseChunk

from ratchet_plugins.nemo.catalog import custom_data_keys, merged_catalog
from ratchet_plugins.nemo.declaration import Declaration, declaration
from ratchet_server.rails.generation import RAIL_PRIORITY, Generate
from ratchet_server.rails.message import Message
from ratchet_server.rails.verdict import Direction, Outcome, RailResult, Span

__all__ = [
    "CompiledRail",
    "InProcessModel",
    "Listed",
    "NemoRail",
    "RailCatalog",
    "RailCompilationError",
    "RailDependencies",
    "RailManifest",
    "RailOutcome",
    "RailsConfig",
    "Surface",
    "compile_flow",
    "compile_rail",
    "custom_data_keys",
    "find_surface",
    "list_surfaces",
    "merged_catalog",
]

logging.getLogger("nemoguardrails").setLevel(logging.WARNING)

_DIRECTION = {Direction.INPUT: RailDirection.INPUT, Direction.OUTPUT: RailDirection.OUTPUT}
_REASON_CHARS = 200
# NeMo asks for 1e-20 or 0.001 where it means greedy; engines clamp those upwards instead.
_GREEDY_BELOW = 0.01


@dataclass(frozen=True, slots=True)
class Surface:
    """What the catalog declares about a configured flow.

    Attributes:
        name: The flow without its parameters.
        manifest: Name of the manifest that declares it.
        parameters: The `$name=value` pairs of the flow.
        known_parameters: The names it understands.
        required_parameters: Those it cannot do without.
        scorer: Name of the scorer it runs, or "".
        rewrites: Whether it may rewrite the text.
        asks_model: Whether its action takes a language model.
        declared: What its action says of itself.
    """

    name: str
    manifest: str
    parameters: Mapping[str, str]
    known_parameters: frozenset[str]
    required_parameters: frozenset[str]
    scorer: str
    rewrites: bool
    asks_model: bool
    declared: Declaration


def find_surface(flow: str, direction: Direction, catalog: RailCatalog) -> Surface | None:
    """Look a configured flow up.

    Returns:
        What is declared about it, or None if the catalog has no such rail in this direction.

    Raises:
        ValueError: The flow is not of the form `name $key=value`.
    """
    name, parameters = parse_configured_surface(flow)
    for manifest in catalog.manifests.values():
        for surface in manifest.surfaces:
            if (surface.direction, surface.name) == (_DIRECTION[direction], name):
                return _described(manifest.name, surface, parameters)
    return None


@dataclass(frozen=True, slots=True)
class Listed:
    """A rail that can be configured.

    Attributes:
        surface: What the catalog declares.
        direction: Its side.
        source: What brings it: "nemoguardrails", "ratchet", or the entry point of another package.
        description: One sentence for people who choose rails.
        needs: Packages it needs that NeMo does not.
    """

    surface: Surface
    direction: Direction
    source: str
    description: str
    needs: tuple[str, ...]


def list_surfaces(catalog: RailCatalog) -> list[Listed]:
    """Return all rails for prompts and answers, by side and name."""
    sides = {theirs: ours for ours, theirs in _DIRECTION.items()}
    found = [
        Listed(
            _described(record.manifest.name, surface, {}),
            sides[surface.direction],
            _brought_by(record.source),
            record.manifest.metadata.description if record.manifest.metadata else "",
            tuple(record.manifest.spec.requirements.optional_dependencies) if record.manifest.spec.requirements else (),
        )
        for record in catalog.records.values()
        for surface in record.manifest.surfaces
        if surface.direction in sides
    ]
    return sorted(found, key=lambda each: (each.direction, each.surface.name))


def _brought_by(source: str) -> str:
    for package, name in (("nemoguardrails.", "nemoguardrails"), ("ratchet_plugins.", "ratchet")):
        if source.startswith(package):
            return name
    return source.removeprefix("entry point ")


def _described(manifest: str, surface: Any, parameters: Mapping[str, str]) -> Surface:
    asked = [binding for binding in surface.bindings if binding.kind == "surface_param"]
    literals = {binding.action_param: binding.value for binding in surface.bindings if binding.kind == "literal"}
    try:
        action = resolve_import_ref(surface.action)
        accepted = set(inspect.signature(action).parameters)
    except (ImportError, AttributeError):
        action, accepted = None, set()  # compile_rail reports it with the reason
    return Surface(
        name=surface.name,
        manifest=manifest,
        parameters=parameters,
        known_parameters=frozenset(binding.key for binding in asked),
        required_parameters=frozenset(binding.key for binding in asked if binding.required),
        scorer=str(literals.get("scorer", "")),
        rewrites=surface.transform_target is not None,
        asks_model=bool(accepted & {"llm", "llms"}),
        declared=declaration(action),
    )


class InProcessModel:
    """NeMo's model protocol over the serving engine. Cancelling a rail aborts its engine request."""

    def __init__(self, generate: Generate, model: str, *, max_tokens: int, timeout_s: float) -> None:
        self._generate, self._model, self._max_tokens, self._timeout_s = generate, model, max_tokens, timeout_s

    @property
    def model_name(self) -> str:
        """The adapter alias or digest that answers."""
        return self._model

    @property
    def provider_name(self) -> str:
        """The engine name in a configuration's `models`."""
        return "ratchet"

    @property
    def provider_url(self) -> str | None:
        """None: nothing leaves the process."""
        return None

    async def generate_async(self, prompt: Any, *, stop: list[str] | None = None, **asked: Any) -> LLMResponse:
        """Answer a prompt (text, or NeMo chat messages), greedily and shortly whatever NeMo asks for."""
        temperature = float(asked.get("temperature") or 0.0)
        wanted = int(asked.get("max_tokens") or self._max_tokens)
        async with asyncio.timeout(self._timeout_s):
            text = await self._generate(
                _messages(prompt),
                model=self._model,
                max_tokens=min(wanted, self._max_tokens),
                temperature=0.0 if temperature < _GREEDY_BELOW else temperature,
                stop=tuple(stop or ()),
                priority=RAIL_PRIORITY,
            )
        return LLMResponse(content=text, model=self._model)

    async def stream_async(self, prompt: Any, *, stop: list[str] | None = None, **asked: Any) -> Any:
        """Answer in one chunk: a verdict is a few tokens."""
        response = await self.generate_async(prompt, stop=stop, **asked)
        yield LLMResponseChunk(delta_content=response.content, finish_reason="stop")


def _messages(prompt: Any) -> Sequence[Message]:
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    return tuple(Message(str(message.role.value), str(message.content or "")) for message in prompt)


class NemoRail:
    """One compiled rail. It holds no state of any request."""

    def __init__(self, compiled: CompiledRail) -> None:
        self._compiled = compiled

    async def execute(self, messages: Sequence[dict[str, str]], text: str | None) -> RailResult:
        """Run it.

        Args:
            messages: The conversation; its last user message is what an input rail judges.
            text: The answer an output rail judges.

        Returns:
            The result; a rail that raised is FAILED, with a reason that holds no text of the request.

        Raises:
            Exception: A provider error that NeMo passes through. The caller counts it as FAILED.
        """
        outcome = (await self._compiled.execute(list(messages), text)).outcome
        if outcome.failed:
            return RailResult(Outcome.FAILED, "the rail raised an error")
        reason = (outcome.reason or "")[:_REASON_CHARS]
        evidence = outcome.metadata
        spans = tuple(Span(*span) for span in evidence.get("spans", ()))
        if outcome.is_transform:
            return _rewritten(outcome, reason, spans, text)
        return RailResult(
            Outcome.BLOCK if outcome.is_blocked else Outcome.ALLOW,
            reason,
            _number(evidence.get("score")),
            _number(evidence.get("threshold")),
            {k: float(v) for k, v in evidence["scores"].items()} if isinstance(evidence.get("scores"), dict) else None,
            spans=spans,
        )


def _rewritten(outcome: RailOutcome, reason: str, spans: tuple[Span, ...], text: str | None) -> RailResult:
    target = TransformTarget.USER_MESSAGE if text is None else TransformTarget.BOT_MESSAGE
    if [rewrite.target for rewrite in outcome.transforms] != [target]:
        return RailResult(Outcome.FAILED, "the rail rewrites something else than it judges")
    return RailResult(Outcome.ALLOW, reason, rewritten=outcome.transforms[0].text, spans=spans)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def compile_flow(
    flow: str, direction: Direction, config: RailsConfig, models: Mapping[str, InProcessModel], catalog: RailCatalog
) -> NemoRail:
    """Compile one configured flow.

    Raises:
        RailCompilationError: NeMo cannot run it on this path, or lacks something it needs.
    """
    dependencies = RailDependencies(llms=dict(models), llm_task_manager=LLMTaskManager(config), config=config)
    return NemoRail(compile_rail(flow, _DIRECTION[direction], dependencies, catalog=catalog))
