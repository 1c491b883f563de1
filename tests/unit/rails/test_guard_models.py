"""NeMo's rails that ask a model, with a guard adapter in the engine: what is asked, and what counts as a verdict."""

from __future__ import annotations

from typing import Any

import pytest

from ratchet_server.rails.errors import RailConfigError
from ratchet_server.rails.message import Message
from ratchet_server.rails.verdict import Outcome

CHAT = (Message("user", "What is the weather?"), Message("assistant", "Sunny."), Message("user", "And my pension?"))
MODELS = "models: [{type: guard, engine: ratchet, model: guard-adapter, parameters: {timeout_ms: 200}}]\n"
CONFIGS = {
    "content safety check input $model=guard": "Is this safe? {{ user_input }}",
    "content safety check output $model=guard": "Is this safe? {{ user_input }} {{ bot_response }}",
    "topic safety check input $model=guard": "Talk about the weather only.",
}


def config(flow: str, prompts: bool = True) -> str:
    side = "output" if " output " in flow else "input"
    name, _, model = flow.partition(" $")
    parser = "" if name.startswith("topic") else ", output_parser: is_content_safe"
    task = f"{name.replace(' ', '_')} ${model}"
    written = f'prompts: [{{task: "{task}", content: "{CONFIGS[flow]}"{parser}}}]\n' if prompts else ""
    return f'{MODELS}rails:\n  {side}:\n    flows: ["{flow}"]\n{written}'


class Guard:
    """An engine that answers what it is told to, and notes what it was asked."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, messages: Any, **asked: Any) -> str:
        self.asked.append({"messages": list(messages), **asked})
        return self.answer


async def judged(profile: Any, flow: str) -> Outcome:
    if " output " in flow:
        return (await profile.check_output(CHAT, "Put it into gold.")).outcome  # type: ignore[no-any-return]
    return (await profile.check_input(CHAT)).outcome  # type: ignore[no-any-return]


@pytest.mark.parametrize("flow", CONFIGS)
@pytest.mark.parametrize(("answers", "outcome"), [(("safe", "on-topic"), "ALLOW"), (("unsafe", "Off-topic."), "BLOCK")])
async def test_a_guard_adapter_decides(profile_of: Any, flow: str, answers: tuple[str, str], outcome: str) -> None:
    guard = Guard(answers[flow.startswith("topic")])
    assert await judged(profile_of(config(flow), guard), flow) == outcome
    (asked,) = guard.asked
    assert (asked["model"], asked["temperature"]) == ("guard-adapter", 0.0)
    assert asked["max_tokens"] <= 8
    assert "pension" in repr(asked["messages"])


@pytest.mark.parametrize("flow", CONFIGS)
@pytest.mark.parametrize("answer", ["", "perhaps", "I cannot judge this.", "\ufffd\ufffd", "{}"])
async def test_an_answer_that_is_no_verdict_lets_nothing_pass(profile_of: Any, flow: str, answer: str) -> None:
    assert await judged(profile_of(config(flow), Guard(answer)), flow) is not Outcome.ALLOW


@pytest.mark.parametrize("flow", CONFIGS)
def test_a_rail_whose_prompt_or_model_is_missing_is_refused(profile_of: Any, flow: str) -> None:
    with pytest.raises(RailConfigError, match="prompt"):
        profile_of(config(flow, prompts=False), Guard("safe"))
    with pytest.raises(RailConfigError, match="none is configured") as caught:
        profile_of(config(flow).replace("type: guard", "type: other"), Guard("safe"))
    assert caught.value.line == 4
