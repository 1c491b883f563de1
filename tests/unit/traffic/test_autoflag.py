"""Which exchanges flag themselves."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from ratchet_adapters.flags import Exchange, Message
from ratchet_server.traffic.autoflag import AutoFlagSettings, auto_flags

SETTINGS = AutoFlagSettings()
SCORE = st.none() | st.floats(0, 1)


def exchange(
    completion: str = "text", verdicts: tuple[dict[str, object], ...] = (), **scores: float | None
) -> Exchange:
    known = {name: value for name, value in scores.items() if value is not None}
    message = (Message("user", "prompt"),)
    return Exchange("r1", message, completion, "", "", "u", known, verdicts, "stop", datetime.now(UTC))


def kinds(subject: Exchange) -> set[tuple[str, str]]:
    return {(flag.kind, flag.source) for flag in auto_flags(subject, SETTINGS)}


def test_a_rail_block_flags_the_prompt_as_harmful() -> None:
    verdict = {"rail": "ratchet triage input", "outcome": "BLOCK", "reason": "harm 0.97"}
    assert kinds(exchange("", (verdict,), input_harm=0.97)) == {("HARMFUL", "RAIL")}


def test_a_toxicity_rail_block_flags_as_toxic_once() -> None:
    verdict = {"rail": "ratchet toxicity output", "outcome": "BLOCK", "reason": ""}
    assert kinds(exchange("rude", (verdict,), toxicity=0.9)) == {("TOXIC", "RAIL")}


def test_a_failed_rail_is_no_evidence_against_the_model() -> None:
    assert kinds(exchange("fine", ({"rail": "x", "outcome": "FAILED", "reason": ""},))) == set()


def test_an_answer_to_a_prompt_that_triage_fears_is_flagged() -> None:
    assert kinds(exchange(input_harm=0.9, refusal=0.1)) == {("HARMFUL", "SCORER")}


def test_a_refusal_of_a_prompt_that_triage_finds_harmless_is_flagged_as_over_refusal() -> None:
    assert kinds(exchange(input_harm=0.01, refusal=0.9)) == {("OVER_REFUSAL", "SCORER")}


@given(SCORE, SCORE, SCORE)
def test_no_exchange_has_two_flags_of_one_kind_and_missing_scores_flag_nothing(
    harm: float | None, refusal: float | None, toxicity: float | None
) -> None:
    flags = list(auto_flags(exchange(input_harm=harm, refusal=refusal, toxicity=toxicity), SETTINGS))
    assert len({flag.kind for flag in flags}) == len(flags)
    if harm is None and toxicity is None:
        assert flags == []
    assert not {"HARMFUL", "OVER_REFUSAL"} <= {flag.kind for flag in flags}
