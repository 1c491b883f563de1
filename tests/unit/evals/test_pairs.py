"""Counterfactual pairs: the shipped templates, and WinoBias and Winogender in their published formats."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ratchet_adapters.evals.bias.pairs import TemplateSet, expand, shipped_templates, template_pairs
from ratchet_adapters.evals.bias.wino import winobias_pairs, winogender_pairs
from ratchet_adapters.evals.errors import SuiteUnreadable


def _set(**changes: Any) -> dict[str, Any]:
    return {
        "axes": {"gender": {"forms": ["who", "they"], "swaps": [[["man", "he"], ["woman", "she"]]]}},
        "fills": {"job": {"train": ["baker"], "held_out": ["pilot", "nurse"]}},
        "templates": [
            {"id": "a", "axis": "gender", "split": "train", "kind": "sentence", "text": "{who} says {they} left."},
            {"id": "b", "axis": "gender", "split": "held_out", "kind": "prompt", "text": "The {who}, a {job}, is"},
        ],
    } | changes


def test_a_template_gives_one_pair_for_each_swap_and_fill_of_its_split() -> None:
    templates = TemplateSet.model_validate(_set())
    (train,) = expand(templates, "train")
    assert (train.first, train.second, train.axis, train.cluster) == (
        "Man says he left.", "Woman says she left.", "gender", "a",
    )  # fmt: skip
    assert [pair.first for pair in expand(templates, "held_out")] == ["The man, a pilot, is", "The man, a nurse, is"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"fills": {"job": {"train": ["pilot"], "held_out": ["pilot"]}}}, "none in common"),
        ({"axes": {"gender": {"forms": ["who", "they"], "swaps": [[["man"], ["woman", "she"]]]}}}, "one word for each"),
        ({"axes": {"gender": {"forms": ["who"], "swaps": [[["man"], ["man"]]]}}}, "itself"),
        ({"templates": [{**_set()["templates"][0], "text": "Nobody left."}]}, "nothing would be swapped"),
        ({"templates": [{**_set()["templates"][0], "text": "The {who} of {place}."}]}, "unknown slots"),
        ({"templates": [{**_set()["templates"][0], "axis": "hair"}]}, "no axis"),
        ({"templates": [_set()["templates"][0]] * 2}, "appears twice"),
        ({"templates": [{**_set()["templates"][0], "split": "test"}]}, "train"),
        ({"licence": "MIT"}, "licence"),
    ],
)
def test_a_template_set_that_contradicts_itself_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        TemplateSet.model_validate(_set(**changes))


def test_the_shipped_templates_are_many_and_the_splits_share_neither_sentence_nor_fill() -> None:
    templates = shipped_templates()
    train, held_out = template_pairs("train"), template_pairs("held_out")
    assert len(templates.templates) >= 60
    assert set(templates.axes) == {"gender", "nationality", "religion", "age", "disability"}
    assert {pair.axis for pair in train} == {pair.axis for pair in held_out} == set(templates.axes)
    assert not {pair.cluster for pair in train} & {pair.cluster for pair in held_out}
    assert not {t for p in train for t in (p.first, p.second)} & {t for p in held_out for t in (p.first, p.second)}
    every = [*train, *held_out]
    assert len({pair.id for pair in every}) == len(every)
    assert all(pair.first != pair.second and "{" not in pair.first + pair.second for pair in every)
    # A prompt is to be continued, a sentence is whole.
    assert all(pair.first.endswith(".") == (pair.kind == "sentence") for pair in every)


def test_no_article_of_a_shipped_pair_disagrees_with_its_noun() -> None:
    words = [text.lower().split() for split in ("train", "held_out") for p in template_pairs(split)  # type: ignore[arg-type]
             for text in (p.first, p.second)]  # fmt: skip
    pairs = {(one, two) for text in words for one, two in itertools.pairwise(text)}
    assert not [two for one, two in pairs if one == "a" and two[0] in "aeio"]
    assert not [two for one, two in pairs if one == "an" and two[0] not in "aeiou" and two[:4] != "hour"]


def _winobias(folder: Path, anti: str = "[she] was late.") -> Path:
    for kind in (1, 2):
        for side, text in (("pro", "[he] was late."), ("anti", anti)):
            lines = "".join(f"{n} [The baker] called the nurse because {text}\n" for n in (1, 2, 3))
            (folder / f"{side}_stereotyped_type{kind}.txt.dev").write_text(lines, encoding="utf-8")
    return folder


def test_winobias_is_read_in_its_published_format(tmp_path: Path) -> None:
    pairs = winobias_pairs(_winobias(tmp_path))
    assert len(pairs) == 6
    assert pairs[0].first == "The baker called the nurse because he was late."
    assert pairs[0].second == "The baker called the nurse because she was late."
    assert pairs[0].cluster == pairs[1].cluster != pairs[2].cluster


def test_winobias_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteUnreadable, match="only 0 of 6"):
        winobias_pairs(_winobias(tmp_path, "[she] was early."))


def test_a_damaged_winobias_line_is_named(tmp_path: Path) -> None:
    folder = _winobias(tmp_path)
    (folder / "anti_stereotyped_type2.txt.dev").write_text("1 A b.\nno number\n3 C d.\n", encoding="utf-8")
    with pytest.raises(SuiteUnreadable, match="line 2"):
        winobias_pairs(folder)
    with pytest.raises(SuiteUnreadable, match="cannot be read"):
        winobias_pairs(folder, "test")


def test_winogender_pairs_the_male_with_the_female_sentence(tmp_path: Path) -> None:
    rows = [f"cook.guest.0.{gender}.txt\tThe cook said {word} left." for gender, word in
            (("male", "he"), ("female", "she"), ("neutral", "they"))]  # fmt: skip
    file = tmp_path / "all_sentences.tsv"
    file.write_text("sentid\tsentence\n" + "\n".join(rows), encoding="utf-8")
    (pair,) = winogender_pairs(tmp_path)
    assert (pair.first, pair.second) == ("The cook said he left.", "The cook said she left.")
    file.write_text("sentid\tsentence\n" + rows[0], encoding="utf-8")
    with pytest.raises(SuiteUnreadable, match="not both"):
        winogender_pairs(tmp_path)
    file.write_text("sentid\tsentence\ncook.male\tx\n", encoding="utf-8")
    with pytest.raises(SuiteUnreadable, match="column sentid"):
        winogender_pairs(tmp_path)


def test_the_published_files_are_read_whole(shared_data: Path) -> None:
    # 396 sentences a file, of which a few were changed on one side only.
    assert len(winobias_pairs(shared_data / "winobias")) == 783
    assert len(winobias_pairs(shared_data / "winobias", "test")) == 782
    assert len(winogender_pairs(shared_data / "winogender")) == 240
