"""Rails that replace text: applied where nothing of it has left, refused or blocking everywhere else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from tests.unit.routing.conftest import build

from ratchet_server.engine.engine import Chunk, EngineRequest, Sampling
from ratchet_server.observability.metrics import Metrics
from ratchet_server.rails.errors import RailConfigError
from ratchet_server.rails.gate import Blocked, Finished, GuardedStream, Released
from ratchet_server.rails.message import Message
from ratchet_server.rails.profiles import RailProfiles
from ratchet_server.rails.settings import Streaming
from ratchet_server.rails.verdict import ALLOWED, Decision, Direction, Outcome
from ratchet_server.rpc.errors import status_name
from ratchet_server.serving.exchange import EVALUATION, Request
from ratchet_server.serving.exchange import Finished as Answered
from ratchet_server.serving.path import RequestPath

CHAT = (Message("user", "hello"),)
APPLY = "test rail: {on_rewrite: apply}"


def masking(target: str, word: str = "4111") -> Any:
    async def mask(text: str, **_: Any) -> Any:
        from nemoguardrails.actions.rail_outcome import RailOutcome, TransformTarget

        at = text.find(word)
        if at < 0:
            return RailOutcome.allow()
        spans = [(at, at + len(word), "CARD")]
        return RailOutcome.transform(
            [(TransformTarget(target), text.replace(word, "<CARD>"))], metadata={"spans": spans}
        )

    return mask


def config(side: str, mode: str = "buffered", rails: str = "test rail", more: str = "", others: str = "") -> str:
    bound = ", unreviewed_chars: 5" if mode == "bounded" else ""
    return f"""
rails:
  {side}: {{flows: [{rails}]{more}}}
{others}
custom_data: {{ratchet: {{streaming: {{mode: {mode}{bound}}}, rails: {{{APPLY}}}}}}}
"""


async def run(stream: GuardedStream) -> tuple[str, Any]:
    text, last = "", None
    async for event in stream:
        if isinstance(event, Released):
            text += event.text
        else:
            last = event
    return text, last


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.sampled_from(["4111", "41", "11", " my card ", "\u200b", "é", "<CARD>"]), max_size=8))
async def test_an_answer_is_released_as_the_rail_wants_it_whole_and_once(
    profile_of: Any, deltas: Any, with_rail: Any, parts: list[str]
) -> None:
    with_rail(masking("bot_message"), rewrites=True)
    profile = profile_of(config("output"))
    text, last = await run(profile.guard_stream(CHAT, deltas(parts, pauses=(1, 0))))
    whole = "".join(parts)
    assert text == whole.replace("4111", "<CARD>")
    assert isinstance(last, Finished)
    if whole:
        (verdict,) = last.decision.verdicts
        assert (verdict.outcome, verdict.rewrote) == (Outcome.ALLOW, "4111" in whole)
        assert [(span.start, span.end, span.kind) for span in verdict.spans] == (
            [(whole.find("4111"), whole.find("4111") + 4, "CARD")] if "4111" in whole else []
        )


@pytest.mark.parametrize("mode", ["strict", "bounded"])
def test_masking_an_answer_that_leaves_as_it_is_written_is_refused(profile_of: Any, with_rail: Any, mode: str) -> None:
    with_rail(masking("bot_message"), rewrites=True)
    with pytest.raises(RailConfigError, match="has left") as caught:
        profile_of(config("output", mode))
    assert caught.value.line == 5
    assert "buffered" in caught.value.remedy


def test_rewriting_beside_rails_that_judge_the_old_text_is_refused(profile_of: Any, with_rail: Any) -> None:
    with_rail(masking("bot_message"), rewrites=True)
    with pytest.raises(RailConfigError, match="parallel"):
        profile_of(config("output", more=", parallel: true"))


def test_saying_what_to_do_with_the_rewrites_of_a_rail_that_makes_none_is_refused(profile_of: Any) -> None:
    with pytest.raises(RailConfigError, match="never rewrites"):
        profile_of(
            "rails: {output: {flows: [ratchet toxicity output]}}\n"
            "custom_data: {ratchet: {rails: {ratchet toxicity output: {on_rewrite: apply}}}}"
        )


async def test_a_rail_judges_what_the_ones_before_it_made_of_the_text(profile_of: Any, with_rail: Any) -> None:
    with_rail(masking("bot_message", "TOXIC"), rewrites=True)
    first = profile_of(config("output", rails="test rail, ratchet toxicity output"))
    assert (await first.check_output(CHAT, "so TOXIC")).rewritten == "so <CARD>"
    last = profile_of(config("output", rails="ratchet toxicity output, test rail"))
    blocked = await last.check_output(CHAT, "so TOXIC")
    assert (blocked.outcome, blocked.rewritten) == (Outcome.BLOCK, None)


async def test_a_rail_that_rewrites_what_it_does_not_judge_has_failed(profile_of: Any, with_rail: Any) -> None:
    with_rail(masking("user_message"), rewrites=True)
    assert (await profile_of(config("output")).check_output(CHAT, "4111")).outcome is Outcome.FAILED


@pytest.mark.parametrize("mode", ["strict", "bounded"])
async def test_the_gate_lets_no_rewrite_follow_text_that_has_left(deltas: Any, mode: str) -> None:
    bound = 3 if mode == "bounded" else None
    streaming = Streaming(mode=mode, window_chars=4, holdback_chars=0, max_wait_ms=1, unreviewed_chars=bound)

    async def judge(text: str, partial: bool) -> Decision:
        return ALLOWED if "4111" not in text else Decision(Outcome.ALLOW, rewritten="<CARD>")

    text, last = await run(GuardedStream(deltas(["some words ", "4111"], pauses=(9,)), judge, streaming))
    assert "<CARD>" not in text
    assert isinstance(last, Blocked)
    assert (last.decision.outcome, last.direction) == (Outcome.BLOCK, Direction.OUTPUT)


async def test_the_model_reads_no_message_of_the_conversation_unmasked(profile_of: Any, with_rail: Any) -> None:
    with_rail(masking("user_message"), rewrites=True, direction="input")
    profile = profile_of(config("input"))
    assert profile.rewrites_input
    chat = (Message("user", "it was 4111"), Message("assistant", "4111?"), Message("user", "yes, 4111"))
    decision, admitted = await profile.admit(chat)
    assert decision.outcome is Outcome.ALLOW
    assert [message.content for message in admitted] == ["it was <CARD>", "<CARD>?", "yes, <CARD>"]
    assert [message.role for message in admitted] == ["user", "assistant", "user"]
    clean = (Message("system", "be brief"), Message("user", "a"), Message("user", "b"))
    assert (await profile.admit(clean))[1] == clean, "what needs no masking stays as it was sent"


async def test_what_two_messages_say_together_is_masked_too(profile_of: Any, with_rail: Any) -> None:
    with_rail(masking("user_message", "41\n11"), rewrites=True, direction="input")
    _, admitted = await profile_of(config("input")).admit((Message("user", "41"), Message("user", "11")))
    assert [message.content for message in admitted] == ["<CARD>"]


async def test_a_rail_that_breaks_on_an_earlier_message_lets_nothing_pass(profile_of: Any, with_rail: Any) -> None:
    async def breaks(text: str, **_: Any) -> Any:
        from nemoguardrails.actions.rail_outcome import RailOutcome

        if text == "old":
            raise RuntimeError
        return RailOutcome.allow()

    with_rail(breaks, rewrites=True, direction="input")
    decision, _ = await profile_of(config("input")).admit(
        (Message("user", "old"), Message("assistant", "yes"), Message("user", "new"))
    )
    assert decision.outcome is Outcome.FAILED


class Engine:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.read: list[str] = []

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        self.read += [message.content for message in request.messages]
        yield Chunk("yours is 4111", 1, "stop", 5)


@pytest.mark.parametrize(("prompt", "read"), [("mine is 4111", ["mine is <CARD>"]), ("HARM with 4111", [])])
async def test_generation_waits_for_the_mask_and_a_blocked_prompt_is_never_generated_for(
    profile_of: Any, with_rail: Any, tmp_path: Path, prompt: str, read: list[str]
) -> None:
    with_rail(masking("user_message"), rewrites=True, direction="input")
    profile = profile_of(config("input", rails="test rail, ratchet triage input"))
    (tmp_path / "routing").mkdir()
    house = build(tmp_path / "routing", tmp_path / "routing")
    engine: Any = Engine()
    unused: Any = None
    path = RequestPath(
        engine,
        house.router,
        house.swaps,
        RailProfiles({"default": profile}),
        unused,
        unused,
        Metrics(CollectorRegistry()),
        status_name,
    )
    request = Request("r", (Message("user", prompt),), Sampling(), "", priority=EVALUATION)
    *_, last = [item async for item in path.run(request)]
    assert engine.read == read
    assert isinstance(last, Answered)
    assert last.finish_reason == ("stop" if read else "blocked_input")
