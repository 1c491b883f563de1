"""One named, immutable set of rails, compiled from a NeMo configuration folder.

A request takes a profile once and keeps it, so a reload never changes the rules in the middle of an answer. It must not
know gRPC, tenants or where profiles are kept.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_plugins.nemo.errors import RailMisconfigured
from ratchet_server.rails.configfolder import read_config_folder
from ratchet_server.rails.gate import GuardedStream
from ratchet_server.rails.generation import Generate
from ratchet_server.rails.lane import Lane
from ratchet_server.rails.message import Message, turn_to_judge
from ratchet_server.rails.runner import GuardRail, RailRunner
from ratchet_server.rails.scoring import ScorerPool
from ratchet_server.rails.settings import Streaming
from ratchet_server.rails.verdict import ALLOWED, Decision, Direction, Outcome, Verdict

if TYPE_CHECKING:
    from ratchet_server.rails.nemo import InProcessModel
    from ratchet_server.rails.validation import ValidConfig

__all__ = ["Profile", "compile_profile", "compile_rails"]

_RAIL_ANSWER_TOKENS = 8
_PLAIN = "Hello, how are you today?"
_MODEL_TIMEOUT_MS = 2_000
# Names that always mean the same weights, as an alias does not.
_FIXED_MODELS = frozenset({"base"})


@dataclass(frozen=True, slots=True)
class Profile:
    """A compiled rail profile.

    Attributes:
        name: How requests ask for it.
        version: "sha256:..." over the configuration, the code versions and the scorers. Equal versions judge equally.
        streaming: How answers are released.
    """

    name: str
    version: str
    streaming: Streaming
    _input: RailRunner
    _output: RailRunner

    @property
    def input_rails(self) -> tuple[str, ...]:
        """The rails that judge prompts, in order."""
        return self._input.names

    @property
    def output_rails(self) -> tuple[str, ...]:
        """The rails that judge answers, in order."""
        return self._output.names

    @property
    def rewrites_input(self) -> bool:
        """Whether prompts may be rewritten, so that the model must not read them before `admit` has returned."""
        return any(rail.rewrites for rail in self._input.rails)

    @property
    def asks_model(self) -> bool:
        """Whether a rail asks a model of the serving engine."""
        return any(rail.own_context for side in (self._input, self._output) for rail in side.rails)

    @property
    def shadow_rails(self) -> tuple[str, ...]:
        """The rails whose verdicts are recorded and stop nothing."""
        return tuple(rail.flow for side in (self._input, self._output) for rail in side.rails if rail.shadow)

    async def probe(self) -> list[Verdict]:
        """Run every rail alone on a plain text, and return the verdicts of those that failed."""
        chat = [{"role": "user", "content": _PLAIN}]
        found: list[Verdict] = []
        for side, text in ((self._input, None), (self._output, _PLAIN)):
            for rail in side.rails:
                alone = replace(side, rails=(rail,))
                found += (await alone.check(chat, text, len(_PLAIN))).verdicts
        return [verdict for verdict in found if verdict.outcome is Outcome.FAILED]

    async def admit(self, messages: Sequence[Message]) -> tuple[Decision, tuple[Message, ...]]:
        """Judge the present turn, and return the conversation as the model may read it.

        Rails that rewrite see the earlier messages too: a client sends them anew, as they were, with every turn.
        Never raises; cancelling it cancels the rails.
        """
        decision = await self.check_input(messages)
        if not self.rewrites_input or decision.outcome is not Outcome.ALLOW:
            return decision, tuple(messages)
        turn = turn_to_judge(messages)
        rewriting = replace(self._input, rails=tuple(rail for rail in self._input.rails if rail.rewrites))
        admitted: list[Message] = []
        for message in turn[:-1]:
            earlier = await rewriting.check([{**message, "role": "user"}], None, len(message["content"]))
            if earlier.outcome is not Outcome.ALLOW:
                return earlier, tuple(messages)
            admitted.append(
                Message(message["role"], message["content"] if earlier.rewritten is None else earlier.rewritten)
            )
        last = turn[-1]["content"] if decision.rewritten is None else decision.rewritten
        if [message["content"] for message in turn] == [*(message.content for message in admitted), last]:
            return decision, tuple(messages)
        return decision, (*admitted, Message("user", last))

    async def check_input(self, messages: Sequence[Message]) -> Decision:
        """Judge the present turn of a conversation. Never raises; cancelling it cancels the rails."""
        turn = turn_to_judge(messages)
        return await self._input.check(turn, None, len(turn[-1]["content"]))

    async def check_output(self, messages: Sequence[Message], text: str) -> Decision:
        """Judge a whole answer. Never raises; cancelling it cancels the rails. There is nothing to judge in ""."""
        return await self._judge(messages, text, partial=False)

    def guard_stream(
        self,
        messages: Sequence[Message],
        deltas: AsyncIterator[str],
        *,
        input_check: Awaitable[Decision] | None = None,
    ) -> GuardedStream:
        """Guard an answer while it is generated.

        Args:
            messages: The conversation.
            deltas: The answer as it is generated. Closed exactly once, however the stream ends.
            input_check: `check_input` of the same conversation, still open: generation runs meanwhile, and nothing
                leaves before it has passed. None: the caller has checked the prompt.

        Returns:
            `Released` events, then one `Finished` or `Blocked`. Close it (`contextlib.aclosing`) when leaving early.
        """

        async def judge(text: str, partial: bool) -> Decision:
            return await self._judge(messages, text, partial=partial)

        return GuardedStream(deltas, judge, self.streaming, input_check)

    async def _judge(self, messages: Sequence[Message], text: str, *, partial: bool) -> Decision:
        if not text:
            return ALLOWED
        conversation = [{"role": m.role, "content": m.content} for m in messages]
        return await self._output.check(conversation, text, len(text), partial=partial)


def compile_profile(name: str, folder: Path, *, scorers: ScorerPool, generate: Generate | None = None) -> Profile:
    """Compile a configuration folder. Imports NeMo and loads scorers: call it in a worker thread.

    Args:
        name: The profile's name.
        folder: config.yml, optionally with further YAML files (prompts).
        scorers: Runs the scorers of its rails; each is loaded and warmed up here.
        generate: Asks the serving engine, for rails that ask a model. None: such rails are refused.

    Raises:
        RailConfigError: The configuration cannot be served exactly as written.
        ScorerError: A scorer does not load.
        RailUnavailable: An installed rail package does not load.
    """
    # Here, because importing them imports NeMo, which takes a second.
    from ratchet_server.rails import nemo
    from ratchet_server.rails.validation import validate

    catalog = nemo.merged_catalog()
    valid = validate(read_config_folder(folder), catalog)
    sides = compile_rails(valid, catalog, generate)
    scorer_versions = _load_classifiers(valid, scorers)
    limit = valid.settings.limits.max_text_chars
    rails = valid.nemo.rails
    return Profile(
        name,
        _version(valid.source.values, scorer_versions),
        valid.settings.streaming,
        RailRunner(Direction.INPUT, tuple(sides[Direction.INPUT]), scorers, limit, bool(rails.input.parallel)),
        RailRunner(Direction.OUTPUT, tuple(sides[Direction.OUTPUT]), scorers, limit, bool(rails.output.parallel)),
    )


def _load_classifiers(valid: ValidConfig, scorers: ScorerPool) -> dict[str, str]:
    """Load what the enabled rails need, and return the versions of their scorers. Raises RailConfigError."""
    names = {flow.surface.scorer for flow in valid.flows if flow.settings.enabled and flow.surface.scorer}
    for name in sorted(names):
        scorers.warm_up(name)
    for flow in valid.flows:
        if flow.settings.enabled and flow.surface.declared.warm_up is not None:
            try:
                flow.surface.declared.warm_up(flow.surface.parameters, valid.nemo)
            except RailMisconfigured as error:
                raise valid.source.error(error.key or flow.key, error.problem, error.remedy) from error
    return {name: scorers.scorer(name).version for name in sorted(names)}


def compile_rails(valid: ValidConfig, catalog: Any, generate: Generate | None) -> dict[Direction, list[GuardRail]]:
    """Compile the enabled rails of both sides, in order. Raises RailConfigError."""
    from ratchet_server.rails import nemo

    models = _models(valid.nemo, generate)
    names = {model.model for model in valid.nemo.models}
    sides: dict[Direction, list[GuardRail]] = {direction: [] for direction in Direction}
    for flow in valid.flows:
        settings, surface = flow.settings, flow.surface
        if not settings.enabled:
            continue
        if surface.asks_model and generate is None:
            raise valid.source.error(
                flow.key,
                f"The rail {flow.text!r} asks a language model, and none can be asked here.",
                "Serve it with an engine, test it with --address, or disable it under custom_data.ratchet.rails.",
            )
        try:
            body = nemo.compile_flow(flow.text, flow.direction, valid.nemo, models, catalog)
        except nemo.RailCompilationError as error:
            raise valid.source.error(flow.key, f"{error}.", "Correct the flow or install what it needs.") from error
        rail = GuardRail(
            flow.text,
            body,
            settings.timeout_ms / 1e3,
            settings.fail_open,
            own_context=surface.asks_model,
            rewrites=settings.on_rewrite == "apply" and not settings.shadow,
            shadow=settings.shadow,
            clear_below=settings.clear_below,
            only_when_unsure=settings.only_when_unsure,
            cacheable=surface.manifest != "regex" and (not surface.asks_model or _FIXED_MODELS.issuperset(names)),
            lane=Lane(at_once=settings.max_running, break_after=settings.break_after, open_s=settings.break_ms / 1e3),
        )
        sides[flow.direction].append(rail)
    return sides


def _models(config: Any, generate: Generate | None) -> dict[str, InProcessModel]:
    from ratchet_server.rails import nemo

    if generate is None:
        return {}
    return {
        model.type: nemo.InProcessModel(
            generate,
            model.model,
            max_tokens=model.parameters.get("max_tokens", _RAIL_ANSWER_TOKENS),
            timeout_s=model.parameters.get("timeout_ms", _MODEL_TIMEOUT_MS) / 1e3,
        )
        for model in config.models
    }


def _version(values: Mapping[str, object], scorers: Mapping[str, str]) -> str:
    basis = {
        "config": values,
        "scorers": dict(scorers),
        "nemoguardrails": importlib.metadata.version("nemoguardrails"),
        "rails": _CODE_VERSION,
    }
    canonical = json.dumps(basis, sort_keys=True, separators=(",", ":"), default=str)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


# Raised whenever the rails of this repository judge differently under the same configuration.
_CODE_VERSION = 2
