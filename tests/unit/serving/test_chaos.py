"""Each dependency of each rail is killed in turn under load: the service refuses, and serves again when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from ratchet.v1 import inference_pb2 as pb
from ratchet_adapters.flags.containment import Containment
from ratchet_server.rails.scoring import ScorerPool

CONFIG = """
models: [{type: main, engine: ratchet, model: base, parameters: {timeout_ms: 600}}]
rails:
  input: {flows: [regex check input, ratchet triage input, self check input]}
  output: {flows: [regex check output, ratchet toxicity output]}
  config: {regex_detection: {input: {patterns: ['forbidden']}, output: {patterns: ['secret-code']}}}
custom_data:
  ratchet:
    streaming: {mode: strict, window_chars: 20, max_wait_ms: 5}
    rails:
      ratchet triage input: {timeout_ms: 600, break_after: 6, break_ms: 150}
      self check input: {timeout_ms: 900, break_after: 6, break_ms: 150}
      ratchet toxicity output: {timeout_ms: 600, break_after: 6, break_ms: 150}
"""
PROMPTS = "prompts: [{task: self_check_input, content: 'User: {{ user_input }} Block? yes/no'}]"


class Model:
    """The model behind the self check; what it does can be exchanged."""

    async def __call__(self, messages: Any, **_: Any) -> str:
        return "No"


async def hang(*_: Any, **__: Any) -> Any:
    await asyncio.sleep(600)


async def broken(*_: Any, **__: Any) -> Any:
    raise ConnectionError("killed")


async def garbage(*_: Any, **__: Any) -> Any:
    return "\x00 maybe?"


def raises(texts: Any) -> Any:
    raise MemoryError("killed")


def nonsense(texts: Any) -> Any:
    return [{"harm": float("nan"), "toxicity": float("nan"), "threat": 7.0} for _ in texts]


def too_few(texts: Any) -> Any:
    return []


def kill_scorer(name: str, how: Any) -> Callable[[Any, pytest.MonkeyPatch], None]:
    def kill(house: Any, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(house.pool._scorers[name]._batcher, "_compute", how)

    return kill


def hang_scorer(name: str) -> Callable[[Any, pytest.MonkeyPatch], None]:
    def kill(house: Any, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(house.pool._scorers[name], "score", hang)

    return kill


def kill_model(how: Any) -> Callable[[Any, pytest.MonkeyPatch], None]:
    return lambda house, patch: patch.setattr(Model, "__call__", lambda self, *a, **k: how(*a, **k))


def kill_encoder(how: Any) -> Callable[[Any, pytest.MonkeyPatch], None]:
    return lambda house, patch: patch.setattr(ScorerPool, "encode", how)


KILLS = {
    "triage raises": kill_scorer("triage", raises),
    "triage answers no number": kill_scorer("triage", nonsense),
    "triage answers too little": kill_scorer("triage", too_few),
    "triage hangs": hang_scorer("triage"),
    "toxicity raises": kill_scorer("toxicity", raises),
    "toxicity answers no number": kill_scorer("toxicity", nonsense),
    "toxicity hangs": hang_scorer("toxicity"),
    "model is gone": kill_model(broken),
    "model hangs": kill_model(hang),
    "model answers garbage": kill_model(garbage),
    "encoder is gone": kill_encoder(broken),
    "encoder hangs": kill_encoder(hang),
}


@pytest.mark.parametrize("kill", KILLS.values(), ids=KILLS)
async def test_a_killed_dependency_refuses_and_never_unguards(
    attacked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, kill: Any
) -> None:
    monkeypatch.setattr("ratchet_server.rails.instant._TIMEOUT_S", 0.6)
    profile = attacked.compiled("p", CONFIG, Model(), prompts=PROMPTS)  # type: ignore[attr-defined]
    async with attacked({"p": profile}) as house:
        now = datetime.now(UTC)
        contained = Containment(
            "c1", "f1", "how would one break the seal of the vault", "", "", "bob", now, now, now + timedelta(1)
        )
        monkeypatch.setattr(ScorerPool, "encode", _pretend)
        await house.instant.use([contained])
        assert await _load(house, "before") == {"OK"}
        with pytest.MonkeyPatch.context() as patch:
            kill(house, patch)
            killed = await _load(house, "killed")
        assert "OK" not in killed and killed <= {"UNAVAILABLE", "BLOCKED"}
        await asyncio.sleep(0.2)  # the circuit lets one check try again
        await _load(house, "trial", 1)
        assert await _load(house, "after") == {"OK"}
        async with asyncio.timeout(10):
            while house.engine.closed != house.engine.begun:
                await asyncio.sleep(0.01)


async def _pretend(self: Any, texts: Any) -> Any:
    import numpy as np

    vector = np.zeros(384, dtype=np.float32)
    vector[0] = 1.0
    return [vector if "vault" in text else np.roll(vector, 1) for text in texts]


async def _load(house: Any, phase: str, requests: int = 16) -> set[str]:
    async def one(number: int) -> str:
        name = f"{phase}-{number}"
        house.engine.lines[name] = ["some ", "words ", "to ", "be ", "judged ", name]
        asked = pb.GenerateRequest(
            prompt=f"question {name}", request_id=name, rail_profile="p", priority=pb.PRIORITY_EVALUATION
        )
        text = ""
        try:
            async for event in house.stub.GenerateStream(pb.GenerateStreamRequest(request=asked), timeout=20):
                text += event.text
                if event.WhichOneof("event") == "done" and event.done.finish_reason != pb.FINISH_REASON_STOP:
                    assert text == ""
                    return "BLOCKED"
        except grpc.aio.AioRpcError as error:
            assert text == "", "text left before the rail that broke had judged it"
            return error.code().name
        assert text == "".join(house.engine.lines[name])
        return "OK"

    return set(await asyncio.gather(*map(one, range(requests))))
