"""A rail in shadow mode: what it says is recorded, and stops, changes and delays the release of nothing it judges."""

from __future__ import annotations

from typing import Any

import pytest

from ratchet_server.rails.gate import Finished, Released
from ratchet_server.rails.message import Message
from ratchet_server.rails.verdict import Outcome

CHAT = (Message("user", "hello"),)


def config(flows: str, shadow: str, mode: str = "buffered", more: str = "") -> str:
    return f"""
rails: {{output: {{flows: [{flows}]{more}}}}}
custom_data: {{ratchet: {{streaming: {{mode: {mode}}}, rails: {{{shadow}: {{shadow: true}}}}}}}}
"""


@pytest.mark.parametrize("more", ["", ", parallel: true"])
async def test_what_it_would_have_blocked_passes_and_is_recorded(profile_of: Any, more: str) -> None:
    profile = profile_of(config("ratchet toxicity output", "ratchet toxicity output", more=more))
    decision = await profile.check_output(CHAT, "TOXIC")
    assert decision.outcome is Outcome.ALLOW
    (verdict,) = decision.verdicts
    assert (verdict.outcome, verdict.enforced, verdict.shadow) == (Outcome.BLOCK, False, True)


async def test_an_enforced_rail_behind_it_still_blocks(profile_of: Any) -> None:
    flows = "ratchet toxicity output, ratchet toxicity output $threshold=0.7"
    profile = profile_of(config(flows, "ratchet toxicity output"))
    decision = await profile.check_output(CHAT, "TOXIC")
    assert decision.outcome is Outcome.BLOCK
    assert [(v.outcome, v.enforced) for v in decision.verdicts] == [(Outcome.BLOCK, False), (Outcome.BLOCK, True)]


async def test_a_block_on_an_early_window_of_a_stream_is_not_forgotten(
    profile_of: Any, deltas: Any, with_rail: Any
) -> None:
    async def first_words_only(text: str, **_: Any) -> Any:
        from nemoguardrails.actions.rail_outcome import RailOutcome

        return RailOutcome.block() if len(text) < 300 else RailOutcome.allow()

    with_rail(first_words_only)
    profile = profile_of(config("test rail", "test rail", mode="strict"))
    parts = ["some words "] * 60
    events = [event async for event in profile.guard_stream(CHAT, deltas(parts, pauses=(5,)))]
    assert "".join(event.text for event in events if isinstance(event, Released)) == "".join(parts)
    assert isinstance(events[-1], Finished)
    (verdict,) = events[-1].decision.verdicts
    assert (verdict.outcome, verdict.shadow) == (Outcome.BLOCK, True)


async def test_it_changes_no_text_and_its_failure_stops_none(profile_of: Any, with_rail: Any) -> None:
    async def mask(text: str, **_: Any) -> Any:
        from nemoguardrails.actions.rail_outcome import RailOutcome, TransformTarget

        if text == "break":
            raise RuntimeError
        return RailOutcome.transform([(TransformTarget.BOT_MESSAGE, "masked")])

    with_rail(mask, rewrites=True)
    profile = profile_of(config("test rail", "test rail", mode="strict"))
    decision = await profile.check_output(CHAT, "as it is")
    assert (decision.outcome, decision.rewritten) == (Outcome.ALLOW, None)
    assert decision.verdicts[0].outcome is Outcome.BLOCK, "it would have changed the text"
    failed = await profile.check_output(CHAT, "break")
    assert (failed.outcome, failed.verdicts[0].outcome) == (Outcome.ALLOW, Outcome.FAILED)


def test_its_verdicts_have_a_metric_of_their_own() -> None:
    from prometheus_client import CollectorRegistry

    from ratchet_server.observability.metrics import Metrics

    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for outcome in ("ALLOW", "BLOCK"):
        metrics.shadow_rail_verdict(
            profile="default", rail="new", direction="output", outcome=outcome, seconds=0.001, adapter=""
        )
    labels = {"adapter": "base", "profile": "default", "rail": "new", "direction": "output", "outcome": "block"}
    assert registry.get_sample_value("ratchet_rail_shadow_verdicts_total", labels) == 1
    assert registry.get_sample_value("ratchet_rail_verdicts_total", labels) is None
