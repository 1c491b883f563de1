"""Regulated advice: informing is free, telling the reader what to do with their money is not; disclaimers stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ratchet_server.rails.cases import read_cases, run_case
from ratchet_server.rails.errors import RailConfigError
from ratchet_server.rails.message import Message
from ratchet_server.rails.verdict import Outcome

HERE = Path(__file__).parent
CHAT = (Message("user", "Leave out the disclaimer."),)
ADVICE = """
rails: {output: {flows: [ratchet advice output]}}
custom_data: {ratchet: {streaming: {mode: buffered}, advice: {domain: finance}}}
"""
TEXT = "This is general information, not financial advice."


def disclaimer(flows: str, rails: str = "", mode: str = "buffered", when: str = r"\b(stocks?|funds?)\b") -> str:
    return f"""
rails:
  output:
    flows: [{flows}]
custom_data:
  ratchet:
    streaming: {{mode: {mode}}}
    rails: {{{rails}}}
    advice:
      disclaimers:
        - when: '{when}'
          text: {TEXT}
"""


APPEND = "ratchet disclaimer append output"
APPLY = f"{APPEND}: {{on_rewrite: apply}}"


async def test_what_the_rules_were_written_on_is_told_apart(profile_of: Any) -> None:
    profile = profile_of(ADVICE)
    results = [await run_case(profile, case) for case in read_cases(HERE / "advice_known.yaml")]
    assert [result.case.answer for result in results if result.problem] == []


async def test_on_sentences_they_were_not_written_on_the_rules_are_as_good_as_documented(profile_of: Any) -> None:
    profile = profile_of(ADVICE)
    results = [await run_case(profile, case) for case in read_cases(HERE / "advice_held_out.yaml")]
    advice = [not result.problem for result in results if result.case.expect == "block"]
    information = [not result.problem for result in results if result.case.expect == "allow"]
    assert sum(advice) >= 15 and len(advice) == 20
    assert sum(information) >= 23 and len(information) == 25


async def test_one_sentence_of_advice_among_information_is_found_in_its_place(profile_of: Any) -> None:
    inform = "A bond is a loan to a state or a company. It pays 3.5 percent a year. "
    decision = await profile_of(ADVICE).check_output(CHAT, f"{inform}You should buy bonds now. Ask me more!")
    (verdict,) = decision.verdicts
    assert decision.outcome is Outcome.BLOCK
    (span,) = verdict.spans
    assert (inform + "You should buy bonds now.")[span.start : span.end].strip() == "You should buy bonds now."
    assert "bonds" not in verdict.reason


@pytest.mark.parametrize("text", ["Stocks fall.", f"Stocks fall.\n\n{TEXT[:-1]}", "Funds cost fees. It is no advice."])
async def test_an_answer_on_the_subject_without_its_disclaimer_is_blocked_or_gets_it(
    profile_of: Any, text: str
) -> None:
    required = await profile_of(disclaimer("ratchet disclaimer output")).check_output(CHAT, text)
    assert required.outcome is Outcome.BLOCK
    appended = await profile_of(disclaimer(APPEND, APPLY)).check_output(CHAT, text)
    assert appended.rewritten == f"{text}\n\n{TEXT}"


@pytest.mark.parametrize("text", ["Paris.", f"Stocks fall. {TEXT}", f"STOCKS.\n{TEXT.upper().replace(' ', chr(10))}"])
async def test_one_with_it_and_one_on_another_subject_stay_as_they_are(profile_of: Any, text: str) -> None:
    for flows, rails in (("ratchet disclaimer output", ""), (APPEND, APPLY)):
        decision = await profile_of(disclaimer(flows, rails)).check_output(CHAT, text)
        assert (decision.outcome, decision.rewritten) == (Outcome.ALLOW, None)


def test_no_rail_that_could_take_a_disclaimer_out_may_follow(profile_of: Any) -> None:
    mask = "ratchet pii mask output"
    rails = f"{APPLY}, {mask}: {{on_rewrite: apply}}"
    with pytest.raises(RailConfigError, match="could remove") as caught:
        profile_of(disclaimer(f"{APPEND}, {mask}", rails))
    assert caught.value.line == 4
    profile_of(disclaimer(f"{mask}, {APPEND}, ratchet disclaimer output", rails))


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (disclaimer("ratchet disclaimer output", mode="strict"), "whole answers"),
        (disclaimer("ratchet disclaimer output", when="(?=x)"), "refused"),
        (disclaimer("ratchet disclaimer output").replace("disclaimers:", "disclaimer:"), "Did you mean"),
        ("rails: {output: {flows: [ratchet advice output]}}", "no settings"),
        (ADVICE.replace("ratchet advice output", "ratchet disclaimer output"), "No disclaimer"),
        (ADVICE.replace("finance", "medicine"), "finance"),
    ],
)
def test_settings_that_guard_nothing_are_refused(profile_of: Any, config: str, problem: str) -> None:
    with pytest.raises(RailConfigError, match=problem):
        profile_of(config)
