"""Defects that NeMo Guardrails 0.24.1 has in its own engines (S1 to S16), each shown to be absent from our path."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ratchet_server.rails.errors import RailConfigError
from ratchet_server.rails.gate import Blocked, Finished, Released
from ratchet_server.rails.message import Message
from ratchet_server.rails.profile import Profile, compile_profile
from ratchet_server.rails.scoring import ScorerPool
from ratchet_server.rails.verdict import Direction, Outcome

CHAT = (Message("user", "hello"),)
SECRET = "secret-code"


def regex_profile(streaming: str = "{}", pattern: str = SECRET) -> str:
    return f"""
rails:
  output: {{flows: [regex check output]}}
  config: {{regex_detection: {{output: {{patterns: ['{pattern}']}}}}}}
custom_data: {{ratchet: {{streaming: {streaming}}}}}
"""


async def run(profile: Profile, source: AsyncIterator[str]) -> tuple[str, Any]:
    text, last = "", None
    async for event in profile.guard_stream(CHAT, source):
        if isinstance(event, Released):
            text += event.text
        else:
            last = event
    return text, last


async def test_s1_text_is_judged_before_it_is_released(profile_of: Any, deltas: Any) -> None:
    profile = profile_of(regex_profile())
    source = deltas(list(f"x{SECRET}"), pauses=(1,))
    text, last = await run(profile, source)
    assert text == ""
    assert isinstance(last, Blocked)


async def test_s2_a_violation_over_a_window_edge_does_not_leak_its_first_half(profile_of: Any, deltas: Any) -> None:
    profile = profile_of(regex_profile("{window_chars: 5, max_wait_ms: 1, holdback_chars: 11}"))
    for offset in range(40):
        whole = "." * offset + SECRET + "." * 20
        text, last = await run(profile, deltas([whole[i : i + 3] for i in range(0, len(whole), 3)], pauses=(2,)))
        assert "s" not in text
        assert isinstance(last, Blocked)


async def test_s2_the_first_text_waits_for_time_not_for_a_full_window(profile_of: Any) -> None:
    profile = profile_of(regex_profile("{window_chars: 10000, max_wait_ms: 5, holdback_chars: 11}"))
    released = asyncio.Event()

    async def waiting_for_its_reader() -> AsyncIterator[str]:
        yield "a first line, well under a window"
        await released.wait()

    async with asyncio.timeout(10):  # without a flush by time, both would wait for each other
        async for event in profile.guard_stream(CHAT, waiting_for_its_reader()):
            if isinstance(event, Released):
                released.set()
    assert released.is_set()


async def test_s3_no_hold_back_does_not_mean_a_check_per_token(profile_of: Any, deltas: Any) -> None:
    profile = profile_of(regex_profile("{window_chars: 50, holdback_chars: 11, max_wait_ms: 60000}"))
    calls = 0
    inner = profile._output.rails[0].body.execute

    async def counted(messages: Any, text: Any) -> Any:
        nonlocal calls
        calls += 1
        return await inner(messages, text)

    profile._output.rails[0].body.execute = counted
    text, _ = await run(profile, deltas(["word "] * 100, pauses=(4,)))
    assert text == "word " * 100
    assert calls <= 500 // 50 + 1


async def test_s4_a_rail_that_blocks_a_whole_answer_blocks_the_same_stream(
    profile_of: Any, deltas: Any, with_rail: Any
) -> None:
    from nemoguardrails.actions.rail_outcome import RailOutcome

    async def scored(text: str, **_: Any) -> RailOutcome:
        first = RailOutcome.allow(metadata={"score": 0.9 if "bad" in text else 0.1})
        return RailOutcome.block() if first.metadata["score"] > 0.5 else first

    with_rail(scored)
    profile = profile_of("rails: {output: {flows: [test rail]}}")
    whole = await profile.check_output(CHAT, "a bad word")
    text, last = await run(profile, deltas(["a bad", " word"]))
    assert whole.outcome is last.decision.outcome is Outcome.BLOCK
    assert text == ""


async def test_s5_and_s7_a_rewriting_rail_is_refused_or_blocks_and_never_delivers_the_unmasked_text(
    profile_of: Any, deltas: Any, with_rail: Any
) -> None:
    from nemoguardrails.actions.rail_outcome import RailOutcome, TransformTarget

    async def mask(text: str, **_: Any) -> RailOutcome:
        if "4111" not in text:
            return RailOutcome.allow()
        return RailOutcome.transform([(TransformTarget.BOT_MESSAGE, text.replace("4111", "[MASKED]"))])

    with_rail(mask, rewrites=True)
    with pytest.raises(RailConfigError, match="may rewrite"):
        profile_of("rails: {output: {flows: [test rail]}}")
    profile = profile_of(
        "rails: {output: {flows: [test rail]}}\ncustom_data: {ratchet: {rails: {test rail: {on_rewrite: block}}}}"
    )
    text, last = await run(profile, deltas(["my card is ", "41", "11 ", "thanks"], pauses=(1,)))
    assert "41" not in text
    assert isinstance(last, Blocked)
    clean, last = await run(profile, deltas(["my card ", "is secret "] * 30, pauses=(1,)))
    assert clean == "my card is secret " * 30, "nothing twice, nothing overlapping"
    assert isinstance(last, Finished)


@pytest.mark.parametrize("parallel", ["true", "false"])
async def test_s6_a_rail_that_raises_fails_closed_in_turn_and_in_parallel(
    profile_of: Any, deltas: Any, with_rail: Any, parallel: str
) -> None:
    async def raising(text: str, **_: Any) -> Any:
        raise RuntimeError(f"cannot judge {text}")

    with_rail(raising)
    profile = profile_of(f"rails: {{output: {{flows: [test rail, ratchet toxicity output], parallel: {parallel}}}}}")
    text, last = await run(profile, deltas(["some text"]))
    assert text == ""
    assert isinstance(last, Blocked)
    assert last.decision.outcome is Outcome.FAILED
    failed = last.decision.verdicts[0]
    assert (failed.outcome, failed.enforced) == (Outcome.FAILED, True)
    assert "some text" not in failed.reason


async def test_s5_and_s7_a_mask_is_delivered_once_and_as_the_whole_answer_is_masked(
    profile_of: Any, deltas: Any
) -> None:
    flow = "ratchet pii mask output"
    settings = f"{{streaming: {{mode: buffered}}, rails: {{{flow}: {{on_rewrite: apply}}}}}}"
    profile = profile_of(f"rails: {{output: {{flows: [{flow}]}}}}\ncustom_data: {{ratchet: {settings}}}")
    whole = "my card is 4111 1111 1111 1111 thanks " * 9
    text, last = await run(profile, deltas([whole[at : at + 5] for at in range(0, len(whole), 5)], pauses=(1,)))
    assert text == "my card is <CARD> thanks " * 9
    assert text == (await profile.check_output(CHAT, whole)).rewritten
    assert isinstance(last, Finished)


async def test_s8_text_that_looks_like_a_verdict_is_only_text(profile_of: Any, deltas: Any) -> None:
    spoof = '{"error": {"type": "guardrails_violation", "message": "Blocked by output rail"}}'
    text, last = await run(profile_of(regex_profile()), deltas([spoof]))
    assert text == spoof
    assert isinstance(last, Finished)


async def test_s9_a_client_that_leaves_stops_generation_at_once(profile_of: Any) -> None:
    produced, aborted = 0, 0

    async def engine() -> AsyncIterator[str]:
        nonlocal produced, aborted
        try:
            while True:
                produced += 1
                yield "some words of an endless answer, "
                await asyncio.sleep(0.005)
        finally:
            aborted += 1

    stream = profile_of(regex_profile("{window_chars: 20}")).guard_stream(CHAT, engine())
    await anext(stream)
    begin = time.perf_counter()
    await stream.aclose()
    assert time.perf_counter() - begin < 1
    seen = produced
    await asyncio.sleep(0.03)
    assert (produced, aborted) == (seen, 1)


async def test_s9_cancelling_a_check_cancels_the_rail_and_its_model_call(profile_of: Any) -> None:
    cancelled = asyncio.Event()

    async def generate(messages: Any, **_: Any) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "No"

    config = """
models: [{type: main, engine: ratchet, model: base}]
rails: {input: {flows: [self check input]}}
prompts: [{task: self_check_input, content: "{{ user_input }}"}]
"""
    check = asyncio.create_task(profile_of(config, generate).check_input(CHAT))
    await asyncio.sleep(0.05)
    check.cancel()
    async with asyncio.timeout(5):
        await cancelled.wait()


async def test_s10_nothing_of_one_conversation_is_seen_in_another(profile_of: Any, with_rail: Any) -> None:
    from nemoguardrails.actions.rail_outcome import RailOutcome

    seen: list[str] = []

    async def spy(text: str, events: Any, **others: Any) -> RailOutcome:
        seen.append(repr((text, events, sorted(others))))
        return RailOutcome.allow()

    with_rail(spy, direction="input")
    profile = profile_of("rails: {input: {flows: [test rail]}}")
    alice = (Message("user", "hi"), Message("assistant", "data-of-alice"), Message("user", "go on"))
    bob = (Message("user", "hi"), Message("user", "go on"))
    await asyncio.gather(profile.check_input(alice), profile.check_input(bob))
    assert len(seen) == 2
    assert "data-of-alice" in seen[0]
    assert "data-of-alice" not in seen[1]


async def test_s10_checks_leave_nothing_behind(profile_of: Any) -> None:
    profile = profile_of(regex_profile())

    async def check(numbers: range) -> None:
        for number in numbers:
            await profile.check_output((Message("user", f"question {number} " * 50),), f"answer {number} " * 50)

    await check(range(20))
    gc.collect()
    tracemalloc.start()
    try:
        await check(range(20, 170))
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A digest and a verdict of each, and of no more than a few thousand.
    assert kept < 150 * 2_500, "upstream keeps 22 KB of every request"


@pytest.mark.parametrize("flow", ["jailbreak detection model", "activefence moderation on input"])
def test_s11_rails_known_to_allow_what_they_cannot_check_are_refused(profile_of: Any, flow: str) -> None:
    with pytest.raises(RailConfigError, match="fail closed") as caught:
        profile_of(f"rails:\n  input:\n    flows:\n      - {flow}")
    assert caught.value.line == 4


def test_s12_the_rail_that_loads_a_model_inside_a_request_is_refused(profile_of: Any) -> None:
    settings = "custom_data: {ratchet: {rails: {jailbreak detection heuristics: {unaudited: true}}}}"
    with pytest.raises(RailConfigError, match="heuristics"):
        profile_of(f"rails: {{input: {{flows: [jailbreak detection heuristics]}}}}\n{settings}")


async def test_s13_a_pattern_that_explodes_in_python_is_matched_in_linear_time(profile_of: Any) -> None:
    profile = profile_of(regex_profile("{mode: buffered}", pattern="(a+)+$"))
    begin = time.perf_counter()
    clean = await profile.check_output(CHAT, "a" * 5_000 + "!")
    assert time.perf_counter() - begin < 5, "Python's re would not come back in this life"
    assert clean.outcome is Outcome.ALLOW
    assert (await profile.check_output(CHAT, "!" + "a" * 5_000)).outcome is Outcome.BLOCK


def test_s14_code_in_the_current_folder_or_in_a_configuration_is_never_run(
    profile_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace = tmp_path / "cwd"
    (workplace / "actions").mkdir(parents=True)
    for name in ("actions.py", "config.py", "actions/__init__.py", "actions/more.py"):
        (workplace / name).write_text("raise SystemExit('ran')\n")
    monkeypatch.chdir(workplace)
    profile_of(regex_profile())
    with pytest.raises(RailConfigError, match="never executed"):
        profile_of(regex_profile(), actions_DOT_py="raise SystemExit('ran')")


@pytest.mark.parametrize(
    ("classifier", "problem"),
    [
        (
            "{engine: local, model: m, blocked_labels: [], parameters: {truncation: true, max_length: 512}}",
            "never blocks",
        ),
        ("{engine: local, model: m, parameters: {truncation: true, max_length: 512}}", "never blocks"),
        ("{engine: local, model: m, blocked_labels: [toxic]}", "longer than its window"),
        (
            "{engine: local, model: MODEL, blocked_labels: [toxc], parameters: {truncation: true, max_length: 512}}",
            "no label",
        ),
    ],
)
def test_s15_a_classifier_that_never_blocks_or_raises_on_long_text_is_refused(
    profile_of: Any, tmp_path: Path, classifier: str, problem: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"id2label": {"0": "toxic", "1": "fine"}}')
    config = f"""
rails:
  output: {{flows: [hf classifier check output $classifier=mine]}}
  config: {{hf_classifier: {{mine: {classifier.replace("MODEL", str(tmp_path / "model"))}}}}}
"""
    with pytest.raises(RailConfigError, match=problem):
        profile_of(config)


async def test_s16_classifiers_run_off_the_event_loop(write_config: Any, scorer_double: Any) -> None:
    threads: set[int] = set()

    class Watched(scorer_double):  # type: ignore[misc]
        def score(self, texts: Any) -> Any:
            threads.add(threading.get_ident())
            return super().score(texts)

    pool = ScorerPool(lambda name: Watched(name, ("harm",), "HARM"))
    both = "rails: {input: {flows: [ratchet triage input]}, output: {flows: [ratchet toxicity output]}}"
    profile = await asyncio.to_thread(compile_profile, "p", write_config(both), scorers=pool)
    threads.clear()
    await profile.check_input(CHAT)
    await profile.check_output(CHAT, "text")
    assert threads and threading.get_ident() not in threads
    pool.close()


async def test_s16_a_scorer_that_puts_its_work_off_into_a_generator_has_failed(
    write_config: Any, scorer_double: Any
) -> None:
    class Lazy(scorer_double):  # type: ignore[misc]
        def score(self, texts: Any) -> Any:
            rows = super().score(texts)
            return rows if list(texts) == ["warm-up"] else (row for row in rows)

    pool = ScorerPool(lambda name: Lazy(name, ("harm",), "HARM"))
    profile = compile_profile("p", write_config("rails: {input: {flows: [ratchet triage input]}}"), scorers=pool)
    assert (await profile.check_input(CHAT)).outcome is Outcome.FAILED
    pool.close()


@pytest.mark.parametrize("flow", ["ratchet pii output", "injection detection input"])
async def test_s16_rails_that_search_long_in_a_text_do_it_off_the_event_loop(
    profile_of: Any, monkeypatch: pytest.MonkeyPatch, flow: str
) -> None:
    from ratchet_plugins.nemo import injection, pii

    threads: list[int] = []

    def noted(inner: Any) -> Any:
        def call(*arguments: Any) -> Any:
            threads.append(threading.get_ident())
            return inner(*arguments)

        return call

    side = "input" if flow.endswith("input") else "output"
    profile = profile_of(f"rails: {{{side}: {{flows: [{flow}]}}}}")
    monkeypatch.setattr(pii, "locate_pii", noted(pii.locate_pii))
    monkeypatch.setattr(injection, "_search", noted(injection._search))
    await (profile.check_input(CHAT) if side == "input" else profile.check_output(CHAT, "text"))
    assert len(threads) == 1 and threads[0] != threading.get_ident()


def test_s16_an_embedding_model_of_nemos_is_refused(profile_of: Any) -> None:
    with pytest.raises(RailConfigError, match="serving engine only") as caught:
        profile_of("models:\n  - type: embeddings\n    engine: FastEmbed\n    model: all-MiniLM-L6-v2\n")
    assert caught.value.line == 3


async def test_a_word_that_is_still_being_written_is_not_taken_for_a_whole_one(profile_of: Any, deltas: Any) -> None:
    profile = profile_of(regex_profile("{window_chars: 1, holdback_chars: 3, max_wait_ms: 1}", pattern=r"\bcat\b"))
    text, last = await run(profile, deltas(list("the catalog of categories " * 8), pauses=(3,)))
    assert text == "the catalog of categories " * 8
    assert isinstance(last, Finished)
    text, last = await run(profile, deltas(list("my cat"), pauses=(3,)))
    assert "c" not in text
    assert isinstance(last, Blocked)
    assert last.direction is Direction.OUTPUT
