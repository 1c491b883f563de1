"""Every RPC that releases text, over a real connection: violations anywhere in any script, leavers, reloads mid-stream.

In strict and buffered mode, and by the unary RPC, no character of a violation leaves; in bounded mode at most N; clean
text is byte-identical; the engine request is closed once; nobody sees what another one was answered.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from ratchet.v1 import inference_pb2 as pb

VIOLATION = "secret-code"
BOUND = 9
MODES = {
    "strict": "{mode: strict, window_chars: 12, max_wait_ms: 2}",
    "bounded": f"{{mode: bounded, unreviewed_chars: {BOUND}, window_chars: 12, max_wait_ms: 2}}",
    "buffered": "{mode: buffered}",
}
# Beginnings of the violation, zero-width and direction marks, combining signs, look-alikes, astral characters.
ALPHABET = "secrt-od \n\u200b\u200d\u202e\u2066\u0301\u0430\u0441\u0435שלוםمرحبا🔥👩‍👩‍👧é漢"


def config(mode: str, note: str = "x") -> str:
    return f"""
rails:
  input: {{flows: [regex check input]}}
  output: {{flows: [regex check output]}}
  config: {{regex_detection: {{input: {{patterns: ['forbidden', '{note}~']}}, output: {{patterns: ['{VIOLATION}']}}}}}}
custom_data: {{ratchet: {{streaming: {MODES[mode]}}}}}
"""


@dataclass
class Case:
    """One request: what the engine will say, and what its client does."""

    id: str
    mode: str
    pieces: list[str]
    violates: int | None
    prompt: str
    unary: bool
    leaves_after: int | None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def draw(pick: random.Random, number: int) -> Case:
    def noise() -> str:
        return "".join(pick.choices(ALPHABET, k=pick.randint(0, 70))).replace(VIOLATION, "")

    tag, before, after = f"[{number}]", noise(), noise()
    bad = pick.random() < 0.6
    text = tag + before + (VIOLATION if bad else "") + after
    start = text.find(VIOLATION)
    cuts = sorted(pick.choices(range(len(text) + 1), k=pick.choice((0, 1, 5, len(text)))))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return Case(
        f"r{number}",
        pick.choice(list(MODES)),
        pieces,
        start if start >= 0 else None,
        pick.choice(("hello", "hello", "hello", "what is forbidden")),
        pick.random() < 0.3,
        pick.randint(0, 3) if pick.random() < 0.2 else None,
    )


async def play(house: Any, case: Case) -> tuple[str, Any]:
    """Return what came through, and the receipt's finish reason or the status."""
    house.engine.lines[case.id] = case.pieces
    asked = pb.GenerateRequest(
        prompt=case.prompt, rail_profile=case.mode, request_id=case.id, priority=pb.PRIORITY_EVALUATION
    )
    if case.unary:
        answer = await house.stub.Generate(asked, timeout=30)
        return answer.text, answer.finish_reason
    call = house.stub.GenerateStream(pb.GenerateStreamRequest(request=asked), timeout=30)
    text, seen = "", 0
    async for event in call:
        if event.WhichOneof("event") == "done":
            return text, event.done.finish_reason
        text += event.text
        seen += 1
        if case.leaves_after is not None and seen > case.leaves_after:
            call.cancel()
            return text, "left"
    raise AssertionError("a stream ended without its last event")


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_leaks_whatever_is_said_however_it_is_cut_and_whoever_leaves(
    attacked: Callable[..., Any], seed: int
) -> None:
    pick = random.Random(seed)
    compiled = attacked.compiled  # type: ignore[attr-defined]
    cases = [draw(pick, number) for number in range(50)]
    async with attacked({mode: compiled(mode, config(mode)) for mode in MODES}) as house:
        again = [compiled(mode, config(mode, "y")) for mode in MODES]
        versions = {mode: {house.profiles.get(mode).version} for mode in MODES}
        places = asyncio.Semaphore(12)

        async def one(case: Case) -> tuple[str, Any]:
            async with places:
                if pick.random() < 0.2:
                    fresh = pick.choice(again)  # a reload, in the middle of the others' answers
                    house.profiles.put(fresh)
                    versions[fresh.name].add(fresh.version)
                return await play(house, case)

        results = await asyncio.gather(*map(one, cases))
        async with asyncio.timeout(10):
            while house.engine.closed != house.engine.begun:
                await asyncio.sleep(0.01)
        assert set(house.engine.begun.values()) == {1}
    for case, (text, reason) in zip(cases, results, strict=True):
        assert case.text.startswith(text), "text of another request, or changed text"
        if case.prompt != "hello":
            assert text == "" and reason == pb.FINISH_REASON_BLOCKED_INPUT
        elif case.violates is not None:
            most = case.violates + (BOUND if case.mode == "bounded" and not case.unary else 0)
            assert len(text) <= most, case
            assert reason in (pb.FINISH_REASON_BLOCKED_OUTPUT, "left")
            assert case.mode != "buffered" or text == ""
        elif reason != "left":
            assert text == case.text and reason == pb.FINISH_REASON_STOP


async def test_the_length_of_a_held_violation_is_no_error_of_the_client(attacked: Callable[..., Any]) -> None:
    compiled = attacked.compiled  # type: ignore[attr-defined]
    async with attacked({"strict": compiled("strict", config("strict"))}) as house:
        case = Case("only", "strict", [VIOLATION], 0, "hello", unary=False, leaves_after=None)
        assert await play(house, case) == ("", pb.FINISH_REASON_BLOCKED_OUTPUT)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await play(house, Case("two", "no-such", ["x"], None, "hello", unary=True, leaves_after=None))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert house.engine.begun == {"only": 1}
