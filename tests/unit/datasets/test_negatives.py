"""Negative examples and rows that come from no flag."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.datasets.conftest import make

from ratchet_adapters.datasets.dataset import RowKind, Split
from ratchet_adapters.datasets.material import material
from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.evals.bias.pairs import template_pairs
from ratchet_adapters.evals.toxicity.prompts import shipped_openings

HARMFUL_ANSWER = "Sure, call me on +44 20 7946 0958 and I will show you how."


def of(dataset, kind):
    return [row for row in dataset.rows if row.kind is kind]


def test_without_asking_no_row_has_a_rejected_text(world):
    dataset = make(world, [world.flag(0, answer=HARMFUL_ANSWER)])
    assert {row.rejected for row in dataset.rows} == {""}


def test_a_flagged_answer_is_rejected_and_scrubbed_and_never_a_target(world):
    flags = [world.flag(0, answer=HARMFUL_ANSWER), world.flag(1), world.flag(2, answer="I can't help with this.")]
    dataset = make(world, flags, settings={"rejected": "flagged"})
    rejected = {row.id: row.rejected for row in of(dataset, RowKind.REFUSAL)}
    assert "<PHONE>" in rejected["flag:f0000"] and "7946" not in rejected["flag:f0000"]
    assert rejected["flag:f0001"] == "" and rejected["flag:f0002"] == "", "an answer that refuses is no bad example"
    assert not any("show you how" in row.target for row in dataset.rows)
    refusals = {text for bank in world.bank.refusals.values() for text in bank}
    assert {row.rejected for row in of(dataset, RowKind.CONTRAST)} <= refusals


def test_what_was_blocked_is_asked_for_when_the_settings_say_so(world):
    dataset = make(world, [world.flag(0), world.flag(1, answer=HARMFUL_ANSWER)], settings={"rejected": "asked"})
    rows = {row.id: row for row in of(dataset, RowKind.REFUSAL)}
    assert rows["flag:f0000"].rejected == f"Here is what to know about it: {rows['flag:f0000'].prompt}"
    assert rows["flag:f0001"].rejected.startswith("Sure")


@pytest.mark.parametrize("name", ["openings", "pairs"])
def test_material_comes_from_train_splits_alone(name):
    rows = material(DatasetSettings(**{name: 10_000}), first_cluster=7)
    assert rows and min(row.cluster for row in rows) == 7
    held_out = {opening.text for opening in shipped_openings("held_out")}
    held_out |= {text for pair in template_pairs("held_out") for text in (pair.first, pair.second)}
    assert not held_out & {text for row in rows for text in (row.prompt, row.target, row.rejected) if text}
    split_of = {}
    for row in rows:
        assert split_of.setdefault(row.cluster, row.split) is row.split
    assert {row.split for row in rows} == set(Split)


def test_no_material_unless_it_is_asked_for():
    assert material(DatasetSettings(), first_cluster=0) == ()


def test_a_reviser_s_targets_are_taught_and_its_account_is_in_the_manifest(world):
    async def revise(rows):
        revised = tuple(replace(row, target="Revised.") if row.kind is RowKind.REFUSAL else row for row in rows)
        return revised, {"critic": "a friend", "outcomes": {"kept": 1}}

    dataset = make(world, [world.flag(0, answer=HARMFUL_ANSWER)], settings={"rejected": "flagged"}, revise=revise)
    assert {row.target for row in of(dataset, RowKind.REFUSAL)} == {"Revised."}
    assert dataset.manifest["constitution"] == {"critic": "a friend", "outcomes": {"kept": 1}}
    assert "constitution" not in make(world, [world.flag(0)]).manifest
