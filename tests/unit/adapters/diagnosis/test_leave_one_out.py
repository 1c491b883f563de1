"""A phrase that causes refusals is told from one that only stands beside it."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.adapters.diagnosis.conftest import make_case

from ratchet_adapters.diagnosis.case import Did
from ratchet_adapters.diagnosis.leave_one_out import leave_one_out, without
from ratchet_adapters.diagnosis.settings import DiagnosisSettings

PROMPTS = [f"How do I kill the hungry python process on machine number {n} today?" for n in ("one", "two", "three")]


async def refuses_kill(prompts: Sequence[str]) -> list[Did]:
    return [Did.REFUSED if "kill" in prompt else Did.COMPLIED for prompt in prompts]


async def test_the_cause_has_an_effect_and_the_bystander_has_none() -> None:
    cases = [make_case(prompt, Did.REFUSED) for prompt in PROMPTS]
    cause, bystander = await leave_one_out(["kill", "python"], cases, refuses_kill, settings=DiagnosisSettings())
    assert (cause.removed, cause.removed_of, cause.replaced) == (3, 3, 3)
    assert cause.effect == 1.0 - cause.control / cause.control_of > 0.5
    assert (bystander.removed, bystander.replaced) == (0, 0)
    assert all("kill" not in trial.removed_prompt for trial in cause.trials)


async def test_the_number_of_trials_is_bounded_and_an_incoherent_answer_is_no_answer() -> None:
    async def babbles(prompts: Sequence[str]) -> list[Did]:
        return [Did.INCOHERENT] * len(prompts)

    cases = [make_case(prompt, Did.REFUSED) for prompt in PROMPTS]
    (found,) = await leave_one_out(["kill"], cases, babbles, settings=DiagnosisSettings(prompts_per_trigger=2))
    assert len(found.trials) == 2 and found.removed == found.replaced == found.control == 0


async def test_a_prompt_that_is_nothing_but_the_phrase_is_not_asked_empty() -> None:
    asked: list[str] = []

    async def remembers(prompts: Sequence[str]) -> list[Did]:
        asked.extend(prompts)
        return [Did.REFUSED] * len(prompts)

    (found,) = await leave_one_out(
        ["kill it"], [make_case("Kill it!", Did.REFUSED)], remembers, settings=DiagnosisSettings()
    )
    assert (found.removed_of, found.control_of, found.effect) == (0, 0, None)
    assert asked == ["something!"]


async def test_no_triggers_ask_nothing() -> None:
    async def never(prompts: Sequence[str]) -> list[Did]:
        raise AssertionError(prompts)

    assert await leave_one_out([], [], never, settings=DiagnosisSettings()) == []


def test_a_phrase_is_taken_out_everywhere_and_the_rest_stays_whole() -> None:
    assert without("Kill it, kill it now.", "kill it") == "now."
    assert without("How do I kill a process?", "a process") == "How do I kill?"
    assert without("How do I kill a process?", "kill", "something") == "How do I something a process?"
    assert without("a a a b", "a a") == "a b"
    assert without("Kill!", "kill") == ""
