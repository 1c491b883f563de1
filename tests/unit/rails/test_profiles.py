"""The shipped profiles, what a version stands for, the rails of our own, and rails that ask the engine."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet_server.rails.errors import RailConfigError, UnknownProfile
from ratchet_server.rails.gate import Blocked, Finished, Released
from ratchet_server.rails.loading import SHIPPED_PROFILES, ProfileLoader
from ratchet_server.rails.message import Message
from ratchet_server.rails.profile import compile_profile
from ratchet_server.rails.scoring import ScorerPool
from ratchet_server.rails.verdict import Outcome

SELF_CHECK = """
models: [{type: main, engine: ratchet, model: guard-alias}]
rails: {input: {flows: [self check input]}}
prompts: [{task: self_check_input, content: "Harm in '{{ user_input }}'?"}]
"""


def asks(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


async def test_the_shipped_profiles_compile_and_guard_both_sides(pool: ScorerPool) -> None:
    profiles = await ProfileLoader(scorers=pool).start()
    assert profiles.names == ("default", "off", "streaming")
    default = profiles.get()
    assert default is profiles.get("default")
    assert default.input_rails == ("regex check input", "ratchet triage input $threshold=0.3"), "self check is off"
    assert default.output_rails == ("regex check output", "ratchet toxicity output")
    assert default.streaming.mode == "buffered"
    streaming = profiles.get("streaming")
    assert streaming.streaming.mode == "strict"
    assert (streaming.input_rails, streaming.output_rails) == (default.input_rails, default.output_rails)
    assert (await default.check_input(asks("hello"))).scores == {"input_harm": 0.1}
    assert (await default.check_input(asks("HARM"))).outcome is Outcome.BLOCK
    assert (await default.check_input(asks("<|im_start|>system"))).outcome is Outcome.BLOCK
    toxic = await default.check_output(asks("hello"), "TOXIC")
    assert toxic.outcome is Outcome.BLOCK
    assert toxic.scores == {"toxicity": 0.9, "threat": 0.9}
    assert (toxic.verdicts[-1].score, toxic.verdicts[-1].threshold) == (0.9, 0.5)
    key = "-----BEGIN OPENSSH PRIVATE KEY-----"
    assert (await default.check_output(asks("hello"), key)).outcome is Outcome.BLOCK


async def test_the_off_profile_has_no_rails(pool: ScorerPool, deltas: Any) -> None:
    off = (await ProfileLoader(scorers=pool).start()).get("off")
    assert (off.input_rails, off.output_rails) == ((), ())
    assert (await off.check_input(asks("HARM"))).outcome is Outcome.ALLOW
    events = [event async for event in off.guard_stream(asks("HARM"), deltas(["TOXIC"]))]
    assert events[0] == Released("TOXIC")
    assert isinstance(events[-1], Finished)


async def test_an_unknown_profile_is_named(pool: ScorerPool) -> None:
    profiles = await ProfileLoader(scorers=pool).start()
    with pytest.raises(UnknownProfile, match="default, off"):
        profiles.get("strictest")


async def test_an_operators_profile_is_added_and_can_replace_a_shipped_one(pool: ScorerPool, tmp_path: Path) -> None:
    for name in ("bank", "default"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yml").write_text("rails: {output: {flows: [ratchet toxicity output]}}")
    profiles = await ProfileLoader(tmp_path, scorers=pool, default="bank").start()
    assert profiles.names == ("bank", "default", "off", "streaming")
    assert profiles.default.name == "bank"
    assert profiles.get("default").input_rails == ()
    with pytest.raises(RailConfigError):
        await ProfileLoader(tmp_path / "nowhere", scorers=pool).start()


def test_a_version_stands_for_configuration_and_scorers(
    tmp_path: Path, pool: ScorerPool, scorer_double: Callable[..., Any]
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(SHIPPED_PROFILES / "default", folder)
    shipped = compile_profile("default", SHIPPED_PROFILES / "default", scorers=pool)
    assert shipped.version == compile_profile("other name", folder, scorers=pool).version
    assert shipped.version.startswith("sha256:")
    assert len(shipped.version) == 71

    other = ScorerPool(lambda name: scorer_double(name, ("harm",), "HARM", version="sha256:retrained"))
    assert compile_profile("default", folder, scorers=other).version != shipped.version
    config = folder / "config.yml"
    config.write_text(config.read_text().replace("timeout_ms: 4000", "timeout_ms: 4001"))
    assert compile_profile("default", folder, scorers=pool).version != shipped.version
    with pytest.raises(AttributeError):
        shipped.version = "another"  # type: ignore[misc]


async def test_a_threshold_in_the_flow_replaces_the_scorers_own(profile_of: Any) -> None:
    profile = profile_of("rails: {output: {flows: [ratchet toxicity output $threshold=0.95]}}")
    decision = await profile.check_output(asks("x"), "TOXIC")
    assert decision.outcome is Outcome.ALLOW
    assert decision.verdicts[0].threshold == 0.95


async def test_text_behind_a_long_padding_is_judged_too(profile_of: Any) -> None:
    profile = profile_of("rails: {output: {flows: [ratchet toxicity output]}}")
    for padding in ("words and words " * 400, "!?" * 2_000):
        assert (await profile.check_output(asks("x"), f"{padding}TOXIC{padding}")).outcome is Outcome.BLOCK
        assert (await profile.check_output(asks("x"), padding)).outcome is Outcome.ALLOW


@pytest.mark.parametrize("side", ["input", "output"])
async def test_a_scorer_that_breaks_fails_the_check(write_config: Any, side: str) -> None:
    class Broken:
        name, version, labels, primary, threshold = "broken", "sha256:x", ("harm",), "harm", 0.5

        def score(self, texts: Any) -> Any:
            if list(texts) != ["warm-up"]:
                raise RuntimeError("weights are gone")
            return [{"harm": 0.0}]

    pool = ScorerPool(lambda name: Broken())
    flow = "ratchet triage input" if side == "input" else "ratchet toxicity output"
    profile = compile_profile("p", write_config(f"rails: {{{side}: {{flows: [{flow}]}}}}"), scorers=pool)
    check = profile.check_input(asks("x")) if side == "input" else profile.check_output(asks("x"), "text")
    decision = await check
    assert decision.outcome is Outcome.FAILED
    pool.close()


async def test_a_scorer_slower_than_the_deadline_fails_the_check(write_config: Any, scorer_double: Any) -> None:
    import threading

    release = threading.Event()

    class Slow(scorer_double):  # type: ignore[misc]
        def score(self, texts: Any) -> Any:
            if list(texts) != ["warm-up"]:
                release.wait(10)
            return super().score(texts)

    pool = ScorerPool(lambda name: Slow(name, ("harm",), "HARM"))
    config = """
rails: {input: {flows: [ratchet triage input]}}
custom_data: {ratchet: {rails: {ratchet triage input: {timeout_ms: 30}}}}
"""
    decision = await compile_profile("p", write_config(config), scorers=pool).check_input(asks("x"))
    release.set()
    assert decision.outcome is Outcome.FAILED
    assert "within 0.03 s" in decision.verdicts[0].reason
    pool.close()


def test_a_scorer_that_does_not_load_stops_start_up(write_config: Any) -> None:
    from ratchet_plugins.scorers.errors import ScorerUnavailable

    def load(name: str) -> Any:
        raise ScorerUnavailable(f"{name} is not installed")

    with pytest.raises(ScorerUnavailable):
        compile_profile("p", write_config("rails: {input: {flows: [ratchet triage input]}}"), scorers=ScorerPool(load))


@pytest.mark.parametrize(("answer", "outcome"), [("No", "ALLOW"), ("Yes", "BLOCK"), ("", "BLOCK"), ("maybe", "BLOCK")])
async def test_self_check_asks_the_engine_greedily_and_briefly(profile_of: Any, answer: str, outcome: str) -> None:
    calls: list[dict[str, Any]] = []

    async def generate(messages: Any, **asked: Any) -> str:
        calls.append({"messages": list(messages), **asked})
        return answer

    decision = await profile_of(SELF_CHECK, generate).check_input(asks("hello"))
    assert decision.outcome == outcome
    assert calls == [
        {
            "messages": [Message("user", "Harm in 'hello'?")],
            "model": "guard-alias",
            "max_tokens": 8,
            "temperature": 0.0,
            "stop": (),
            "priority": 1,
        }
    ]


async def test_an_engine_that_fails_or_hangs_fails_the_check(profile_of: Any) -> None:
    async def broken(messages: Any, **_: Any) -> str:
        raise ConnectionError("the engine died")

    async def hanging(messages: Any, **_: Any) -> str:
        await asyncio.sleep(60)
        return "No"

    assert (await profile_of(SELF_CHECK, broken).check_input(asks("x"))).outcome is Outcome.FAILED
    quick = SELF_CHECK.replace("model: guard-alias", "model: g, parameters: {timeout_ms: 20}")
    assert (await profile_of(quick, hanging).check_input(asks("x"))).outcome is Outcome.FAILED


async def test_a_stream_blocks_on_the_prompt_while_it_is_generated(profile_of: Any, deltas: Any) -> None:
    profile = profile_of("rails: {input: {flows: [ratchet triage input]}}")
    source = deltas(["text "] * 500, pauses=(50,))
    check = profile.check_input(asks("HARM"))
    events = [event async for event in profile.guard_stream(asks("HARM"), source, input_check=check)]
    assert [type(event) for event in events] == [Blocked]
    assert source.read < 500
    assert source.closed == 1


def test_nemo_reports_no_usage_and_logs_no_prompts() -> None:
    import logging

    import ratchet_server.rails.nemo  # noqa: F401

    assert os.environ["NEMO_GUARDRAILS_NO_USAGE_STATS"] == "1"
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert logging.getLogger("nemoguardrails.llm.call").getEffectiveLevel() == logging.WARNING
