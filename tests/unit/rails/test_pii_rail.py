"""Personal data in prompts and answers: blocked or masked, also when it is disguised or still being written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratchet_plugins.pii.recognisers import PiiKind, locate_pii
from ratchet_server.rails.errors import RailConfigError
from ratchet_server.rails.gate import Blocked, Finished, Released
from ratchet_server.rails.message import Message
from ratchet_server.rails.verdict import Outcome

CHAT = (Message("user", "hello"),)
CARD = "4111 1111 1111 1111"
MAIL = "jane.doe@example.com"


def masking(side: str, parameters: str = "") -> str:
    flow = f"ratchet pii mask {side}{parameters}"
    return f"""
rails: {{{side}: {{flows: ["{flow}"]}}}}
custom_data: {{ratchet: {{streaming: {{mode: buffered}}, rails: {{"{flow}": {{on_rewrite: apply}}}}}}}}
"""


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"write to {MAIL}.", "write to <EMAIL>."),
        (f"{CARD} and 219-12-3456", "<CARD> and <SSN>"),
        ("4111\u200b1111\u200b1111\u200b1111", "<CARD>"),
        ("４１１１１１１１１１１１１１１１", "<CARD>"),
        ("jane\u2060.doe@exa\u00admple.com", "<EMAIL>"),
        ("call +1 415 555 2671 \u202e now", "call <PHONE> \u202e now"),
        ("in 2024 we sold 1234 units", None),
    ],
)
async def test_masked_text_keeps_all_but_the_data(profile_of: Any, text: str, masked: str | None) -> None:
    decision = await profile_of(masking("output")).check_output(CHAT, text)
    assert (decision.outcome, decision.rewritten) == (Outcome.ALLOW, masked)
    assert decision.verdicts[0].rewrote == (masked is not None)


entities = st.sampled_from(
    [MAIL, CARD, "4111111111111111", "+1 415 555 2671", "DE89 3704 0044 0532 0130 00", "8.8.4.4"]
)
noise = st.sampled_from(["", " ", "\u200b", "x", "1", ", ", "é", "\n"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(entities, noise), max_size=7))
async def test_nothing_that_is_found_is_left_behind_a_mask(profile_of: Any, parts: list[str]) -> None:
    text = "".join(parts)
    decision = await profile_of(masking("output")).check_output(CHAT, text)
    assert decision.outcome is Outcome.ALLOW
    assert locate_pii(text if decision.rewritten is None else decision.rewritten) == []
    assert (decision.rewritten is not None) == bool(locate_pii(text))


def test_places_are_those_in_the_text_as_it_was() -> None:
    text = f"é\u200b {MAIL}"
    assert locate_pii(text) == [(3, 3 + len(MAIL), PiiKind.EMAIL)]


async def test_a_verdict_says_what_and_where_and_never_the_data(profile_of: Any) -> None:
    decision = await profile_of("rails: {input: {flows: [ratchet pii input]}}").check_input(
        (Message("user", f"my card is {CARD}"),)
    )
    (verdict,) = decision.verdicts
    assert (decision.outcome, verdict.reason) == (Outcome.BLOCK, "CARD")
    assert [(span.start, span.end, span.kind) for span in verdict.spans] == [(11, 30, "CARD")]
    assert "4111" not in repr(decision)


async def test_kinds_and_countries_can_be_chosen(profile_of: Any) -> None:
    cards = profile_of(masking("output", " $kinds=CARD,SSN"))
    assert (await cards.check_output(CHAT, f"{MAIL} {CARD}")).rewritten == f"{MAIL} <CARD>"
    text = "ring 020 7183 8750 today"
    assert (await profile_of(masking("output", " $regions=US")).check_output(CHAT, text)).rewritten is None
    assert (await profile_of(masking("output", " $regions=GB")).check_output(CHAT, text)).rewritten is not None


@pytest.mark.parametrize(("parameter", "problem"), [("$kinds=NAME", "Kinds are"), ("$regions=XX", "no country")])
def test_a_kind_or_country_that_does_not_exist_is_refused(profile_of: Any, parameter: str, problem: str) -> None:
    with pytest.raises(RailConfigError, match=problem) as caught:
        profile_of(f"rails:\n  output:\n    flows:\n      - ratchet pii output {parameter}")
    assert caught.value.line == 4


@pytest.mark.parametrize("step", [1, 3, 7])
async def test_a_stream_lets_no_character_of_it_out_and_no_harmless_beginning_stops_one(
    profile_of: Any, deltas: Any, step: int
) -> None:
    profile = profile_of(
        "rails: {output: {flows: [ratchet pii output]}}\n"
        "custom_data: {ratchet: {streaming: {mode: strict, window_chars: 8, max_wait_ms: 1}}}"
    )
    assert profile.streaming.holdback_chars == 128
    text = "words " * 40 + CARD + " more"
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    events = [event async for event in profile.guard_stream(CHAT, deltas(pieces, pauses=(2,)))]
    released = "".join(event.text for event in events if isinstance(event, Released))
    assert "4" not in released
    assert isinstance(events[-1], Blocked)
    # 10.20.30.4 is an address only until the text goes on.
    text = "words " * 40 + "version 10.20.30.40.50 is out, and more " * 6
    events = [event async for event in profile.guard_stream(CHAT, deltas([*text], pauses=(2,)))]
    assert "".join(event.text for event in events if isinstance(event, Released)) == text
    assert isinstance(events[-1], Finished)


def test_a_stream_that_holds_back_less_than_an_entity_is_refused(profile_of: Any) -> None:
    with pytest.raises(RailConfigError, match="128"):
        profile_of(
            "rails: {output: {flows: [ratchet pii output]}}\n"
            "custom_data: {ratchet: {streaming: {mode: strict, holdback_chars: 20}}}"
        )


async def test_a_text_too_long_to_look_through_has_failed(profile_of: Any) -> None:
    decision = await profile_of(masking("output")).check_output(CHAT, "1 " * 30_000)
    assert (decision.outcome, decision.rewritten) == (Outcome.FAILED, None)


def test_the_stock_rails_for_it_are_refused_with_what_to_use_instead(profile_of: Any) -> None:
    with pytest.raises(RailConfigError, match="ratchet pii mask output"):
        profile_of("rails: {output: {flows: [mask sensitive data on output]}}")
