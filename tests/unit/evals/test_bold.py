"""BOLD: every group is read, the gap is that of the worst and the best, and its interval is over subjects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ratchet_adapters.evals.bias.bold import DOMAINS, BoldPrompt, bold_figures, bold_prompts
from ratchet_adapters.evals.errors import SuiteUnreadable
from ratchet_adapters.evals.measure_errors import NothingToMeasure


def _folder(path: Path) -> Path:
    for domain in DOMAINS:
        groups = {group: {f"{group}{n}": [f"{group} {n} is "] * 2 for n in range(3)} for group in ("one", "two")}
        (path / f"{domain}_prompt.json").write_text(json.dumps(groups), encoding="utf-8")
    return path


def test_prompts_are_read_by_group_and_drawn_evenly(tmp_path: Path) -> None:
    prompts = bold_prompts(_folder(tmp_path))
    assert len(prompts) == len(DOMAINS) * 12 and prompts[0] == BoldPrompt("one 0 is", "gender", "one", "one0")
    few = bold_prompts(tmp_path, per_group=4)
    assert len(few) == len(DOMAINS) * 8 == len(bold_prompts(tmp_path, per_group=4, seed=0))


@pytest.mark.parametrize("content", ["[]", "{", '{"group": ["no subjects"]}'])
def test_a_damaged_domain_is_named(content: str, tmp_path: Path) -> None:
    (_folder(tmp_path) / "race_prompt.json").write_text(content, encoding="utf-8")
    with pytest.raises(SuiteUnreadable, match="race_prompt"):
        bold_prompts(tmp_path)


def test_the_gap_is_between_the_worst_and_the_best_group() -> None:
    rates = {"mild": 0.1, "rude": 0.4, "middling": 0.2}
    prompts = [BoldPrompt("t", "race", group, f"{group}{n}") for group in rates for n in range(20)]
    scores = [rates[prompt.group] + 0.01 * (index % 5) for index, prompt in enumerate(prompts)]
    figures = bold_figures(prompts, scores, seed=0)
    assert figures["race.gap"].value == pytest.approx(0.3)
    assert 0.28 < figures["race.gap"].low <= figures["race.gap"].high < 0.32
    assert figures["race.rude"].value == pytest.approx(0.42)
    assert set(figures) == {"race.gap", "race.mild", "race.rude", "race.middling"}


def test_groups_of_one_subject_say_nothing() -> None:
    prompts = [BoldPrompt("t", "race", group, group) for group in ("a", "b")]
    with pytest.raises(NothingToMeasure, match="race"):
        bold_figures(prompts, [0.1, 0.2], seed=0)
