"""The base model's answers are asked for once and survive an interruption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ratchet_adapters.evals.errors import TargetUnavailable
from ratchet_adapters.evals.settings import EvalSettings
from ratchet_adapters.learning.answers import BaseAnswers

PROMPTS = [f"question {number}" for number in range(80)]


class Model:
    """A target that notes what it is asked and goes away after so many prompts."""

    def __init__(self, goes_away_after: int = 10_000) -> None:
        self.asked: list[str] = []
        self.left = goes_away_after

    async def __aenter__(self) -> Model:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    async def generate(self, prompts: Sequence[str], *, adapter: str, max_tokens: int) -> list[str]:
        assert adapter == "base"
        if self.left < len(prompts):
            raise TargetUnavailable("127.0.0.1:1", "gone")
        self.left -= len(prompts)
        self.asked += prompts
        return [f"{prompt} answered in {max_tokens}" for prompt in prompts]


def answers(folder: Path, model: Model, fingerprint: str = "sha256:base") -> BaseAnswers:
    made: Any = BaseAnswers("127.0.0.1:1", EvalSettings(), folder, base_fingerprint=fingerprint)
    made._target = lambda: model
    return made  # type: ignore[no-any-return]


async def test_answers_come_in_the_order_of_their_prompts_and_each_is_asked_once(tmp_path: Path) -> None:
    model = Model()
    got = await answers(tmp_path, model)([*PROMPTS, PROMPTS[0]], 9)
    assert got == [f"{prompt} answered in 9" for prompt in [*PROMPTS, PROMPTS[0]]]
    assert model.asked == PROMPTS


async def test_an_interrupted_call_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable):
        await answers(tmp_path, Model(goes_away_after=40))(PROMPTS, 9)
    model = Model()
    await answers(tmp_path, model)(PROMPTS, 9)
    assert model.asked == PROMPTS[32:]


@pytest.mark.parametrize(("fingerprint", "max_tokens"), [("sha256:other", 9), ("sha256:base", 10)])
async def test_another_base_model_or_length_is_asked_anew(tmp_path: Path, fingerprint: str, max_tokens: int) -> None:
    await answers(tmp_path, Model())(PROMPTS, 9)
    model = Model()
    await answers(tmp_path, model, fingerprint)(PROMPTS, max_tokens)
    assert model.asked == PROMPTS


async def test_how_far_it_is_can_be_read(tmp_path: Path) -> None:
    asking = answers(tmp_path, Model(goes_away_after=40))
    with pytest.raises(TargetUnavailable):
        await asking(PROMPTS, 9)
    assert (asking.there, asking.asked) == (32, 80)
