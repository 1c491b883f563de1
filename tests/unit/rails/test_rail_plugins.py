"""The rails as NeMo plugins: the merged catalog, entry points, pieces of long texts, and use beside a stock NeMo."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet_plugins.nemo.segments import segments


@given(st.text(alphabet="ab .!é漢\n", max_size=3_000))
def test_pieces_cover_a_text_and_each_fits_a_small_window(text: str) -> None:
    pieces = segments(text)
    position = 0
    for piece in pieces:
        begin = text.find(piece, max(0, position - len(piece)))
        assert 0 <= begin <= position
        position = max(position, begin + len(piece))
        signs = sum(not (c.isascii() and (c.isalnum() or c.isspace())) for c in piece)
        assert signs + (len(piece) - signs) / 2 <= 240 or len(pieces) == 1
    assert position == len(text)
    assert len(pieces) <= 1 + len(text) / 60


@given(st.text(alphabet="ab .!", min_size=600, max_size=2_000), st.text(alphabet="ab .!", max_size=500))
def test_growing_text_keeps_all_pieces_but_the_last(text: str, more: str) -> None:
    before, after = segments(text), segments(text + more)
    assert after[: len(before) - 1] == before[:-1]


def test_our_regex_rail_takes_the_place_of_the_stock_one() -> None:
    from ratchet_plugins.nemo.catalog import merged_catalog

    actions = merged_catalog().manifests["regex"].actions
    assert actions.refs[0].target == "ratchet_plugins.nemo.regex:match_regex"


def test_a_manifest_given_in_code_that_collides_is_refused() -> None:
    from ratchet_plugins.nemo import triage
    from ratchet_plugins.nemo.catalog import merged_catalog
    from ratchet_plugins.nemo.errors import RailUnavailable

    with pytest.raises(RailUnavailable, match="already provided"):
        merged_catalog([triage.RAIL])


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("ratchet_plugins.nemo.nowhere:RAIL", "does not load"),
        ("ratchet_plugins.nemo.segments:segments", "RailManifest"),
    ],
)
def test_an_entry_point_that_brings_no_rail_stops_start_up(
    monkeypatch: pytest.MonkeyPatch, value: str, problem: str
) -> None:
    from ratchet_plugins.nemo import catalog
    from ratchet_plugins.nemo.errors import RailUnavailable

    point = importlib.metadata.EntryPoint("broken", value, catalog.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [point])
    catalog._from_entry_points.cache_clear()
    try:
        with pytest.raises(RailUnavailable, match=problem):
            catalog.merged_catalog()
    finally:
        catalog._from_entry_points.cache_clear()


@pytest.mark.parametrize(
    ("name", "text", "action"),
    [
        ("ratchet triage input", "user_message", "triage_input"),
        ("ratchet toxicity output", "bot_message", "toxicity_output"),
    ],
)
def test_a_classifier_rail_names_an_action_that_exists_and_its_side_of_the_exchange(
    name: str, text: str, action: str
) -> None:
    from ratchet_plugins.nemo.catalog import merged_catalog

    surfaces = [s for m in merged_catalog().manifests.values() for s in m.spec.surfaces if s.name == name]
    (surface,) = surfaces
    module, _, function = surface.action.target.partition(":")
    assert function == action and callable(getattr(importlib.import_module(module), function))
    assert text in repr(surface.bindings)


async def test_a_rail_runs_beside_a_stock_nemo(monkeypatch: pytest.MonkeyPatch, scorer_double: Any) -> None:
    from nemoguardrails import RailsConfig
    from nemoguardrails.guardrails.compiled_rail import RailDependencies, compile_rail
    from nemoguardrails.llm.taskmanager import LLMTaskManager
    from nemoguardrails.manifests import RailDirection

    from ratchet_plugins.nemo import context
    from ratchet_plugins.nemo.catalog import merged_catalog

    context._shared.cache_clear()
    monkeypatch.setattr(context, "load_scorer", lambda name: scorer_double(name, ("harm",), "HARM"))
    config = RailsConfig.from_content(config={"models": []})
    dependencies = RailDependencies(llms={}, llm_task_manager=LLMTaskManager(config), config=config)
    rail = compile_rail("ratchet triage input", RailDirection.INPUT, dependencies, catalog=merged_catalog())
    assert (await rail.run([{"role": "user", "content": "HARM"}])).is_blocked
    assert not (await rail.run([{"role": "user", "content": "hello"}])).is_blocked
    context._shared.cache_clear()


async def test_a_long_prompt_is_scored_in_pieces_and_whole_and_a_long_answer_in_pieces(scorer_double: Any) -> None:
    from ratchet_plugins.nemo import context, toxicity, triage

    class Recording:
        def __init__(self) -> None:
            self.double = scorer_double("any", ("harm",), "HARM")

        def scorer(self, name: str) -> Any:
            return self.double

        async def score(self, name: str, texts: Any) -> list[dict[str, float]]:
            return self.double.score(texts)  # type: ignore[no-any-return]

    recording, text = Recording(), "some words " * 100
    token = context.SCORING.set(recording)
    try:
        await triage.triage_input("any", text)
        await toxicity.toxicity_output("any", text)
    finally:
        context.SCORING.reset(token)
    asked, answered = recording.double.calls
    assert asked == [*segments(text), text]
    assert answered == segments(text)
