"""A dataset is made of reviewed flags, templates and the base model's own answers, and can be traced back."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.datasets.conftest import BASE, make

from ratchet_adapters.datasets.dataset import RowKind, Split, read_dataset
from ratchet_adapters.datasets.errors import AnswersMissing, DatasetInvalid, TooFewRows
from ratchet_adapters.datasets.near_duplicates import NearDuplicates
from ratchet_adapters.datasets.seed import SeedPrompt


def test_targets_come_from_templates_and_the_base_model_only(world):
    dataset = make(world, [world.flag(i) for i in range(10)] + [world.flag(90, kind="OVER_REFUSAL")])
    refusals = [row for row in dataset.rows if row.kind is RowKind.REFUSAL]
    assert {row.target for row in refusals} <= {text for bank in world.bank.refusals.values() for text in bank}
    assert all(
        row.target == f"Here is what to know about it: {row.prompt}" for row in dataset.rows if row not in refusals
    )
    assert len(refusals) == 10
    assert any(row.kind is RowKind.CONTRAST and row.flag_ids == ("f0090",) for row in dataset.rows)


def test_the_same_inputs_give_the_same_digest_whatever_the_order_of_flags(world):
    flags = [world.flag(i) for i in range(12)]
    assert make(world, flags).digest == make(world, flags[::-1]).digest
    assert make(world, flags).digest != make(world, flags, settings={"seed": 1}).digest


def test_the_manifest_names_everything_the_dataset_was_made_of(world):
    manifest = make(world, [world.flag(i) for i in range(6)]).manifest
    assert manifest["flag_ids"] == [f"f{i:04}" for i in range(6)]
    assert manifest["base_fingerprint"] == BASE
    assert manifest["template_bank_digest"] == world.bank.digest
    assert manifest["counts"]["refusal"] == 6
    assert json.loads(json.dumps(manifest)) == manifest


@settings(max_examples=25, deadline=None)
@given(
    owners=st.lists(st.sampled_from(["mallory", "anna", "", "ben"]), min_size=1, max_size=24), bound=st.integers(0, 5)
)
def test_no_principal_contributes_more_than_the_bound(world, owners, bound):
    kinds = ["HARMFUL", "OVER_REFUSAL"]
    flags = [world.flag(i, principal=owner, kind=kinds[i % 2]) for i, owner in enumerate(owners)]
    by_id = {flag.id: flag.principal for flag in flags}
    dataset = make(world, flags, settings={"max_items_per_principal": bound, "seed_harmful": 3})
    used = Counter(by_id[row.flag_ids[0]] for row in dataset.rows if row.flag_ids)
    assert all(count <= bound for count in used.values())


def test_a_named_principal_has_the_absolute_bound_it_was_given(world):
    flags = [world.flag(i, principal="red-team") for i in range(30)]
    dataset = make(world, flags, settings={"max_items_per_principal": 2, "principal_limits": {"red-team": 20}})
    assert dataset.counts["refusal"] == 20
    assert dataset.manifest["dropped"]["principal_bound"] == 10


@pytest.mark.parametrize("state", ["OPEN", "REJECTED"])
def test_a_flag_that_was_not_accepted_trains_nothing(world, state):
    flags = [world.flag(i) for i in range(4)] + [world.flag(i, state=state) for i in range(4, 40)]
    dataset = make(world, flags)
    assert dataset.flag_ids == tuple(f"f{i:04}" for i in range(4))
    assert dataset.manifest["dropped"]["not_accepted"] == 36


@settings(max_examples=30, deadline=None)
@given(
    before=st.text(" \n!?.,*", max_size=4),
    after=st.sampled_from(["", "!!", " please", " https://x.example/a", "\n```code```", " Thanks."]),
    upper=st.booleans(),
    kind=st.sampled_from(["HARMFUL", "OVER_REFUSAL"]),
    by_seed=st.booleans(),
)
def test_no_row_is_an_evaluation_item_however_it_is_dressed(world, before, after, upper, kind, by_seed):
    text = world.guarded.upper() if upper else world.guarded
    prompt = f"{before}{text}{after}"
    flags = [world.flag(i) for i in range(3)]
    seed = world.seed(SeedPrompt("leak", "benign_twin", "fraud", prompt)) if by_seed else world.seed()
    if not by_seed:
        flags.append(world.flag(99, prompt=prompt, kind=kind))
    dataset = make(world, flags, seed=seed, settings={"max_contrast": 100, "min_contrast": 100})
    guard = NearDuplicates([world.guarded])
    assert not any(guard.matches([row.prompt for row in dataset.rows]))
    assert dataset.manifest["dropped"]["evaluation_item"] == 1


def test_a_guarded_text_handed_in_is_kept_out_too(world):
    dataset = make(world, [world.flag(i) for i in range(4)], guarded=[world.harmful(2)])
    assert "f0002" not in dataset.flag_ids


def test_an_embedding_finds_the_duplicate_that_shares_no_words(world):
    import numpy as np

    def embed(texts):
        vectors = np.random.default_rng(0).normal(size=(len(texts), 64)).astype(np.float32)
        for row, text in enumerate(texts):
            code = np.random.default_rng(1 if "tins" in text or "cans" in text else abs(hash(text)) % 2**32)
            vectors[row] = code.normal(size=64)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    flags = [*(world.flag(i) for i in range(3)), world.flag(50, prompt="Where do leftover varnish cans belong")]
    assert "f0050" in make(world, flags).flag_ids
    assert "f0050" not in make(world, flags, embed=embed).flag_ids


def test_near_duplicates_become_one_row_that_remembers_all_its_flags(world):
    same = world.harmful(1)
    dataset = make(
        world, [world.flag(1), world.flag(2, prompt=same + "!"), world.flag(3, prompt=same.upper()), world.flag(4)]
    )
    assert [row.flag_ids for row in dataset.rows if "f0001" in row.flag_ids] == [("f0001", "f0002", "f0003")]
    assert dataset.counts["refusal"] == 2


def test_near_duplicates_share_a_split(world):
    dataset = make(world, [world.flag(i) for i in range(30)], settings={"validation_share": 0.3})
    splits: dict[int, set[str]] = {}
    for row in dataset.rows:
        splits.setdefault(row.cluster, set()).add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {row.split for row in dataset.rows} == {Split.TRAIN, Split.VALIDATION}


def test_a_prompt_called_harmful_and_benign_teaches_neither(world):
    flags = [world.flag(i) for i in range(3)] + [world.flag(9, prompt=world.harmful(0), kind="OVER_REFUSAL")]
    dataset = make(world, flags)
    assert set(dataset.flag_ids) == {"f0001", "f0002"}
    assert dataset.manifest["dropped"]["contradiction"] == 2


def test_an_accepted_flag_can_not_turn_a_curated_twin_into_a_refusal(world):
    twin = world.seed().of("benign_twin")[3].prompt
    dataset = make(world, [world.flag(0), world.flag(1, prompt=twin)])
    assert dataset.flag_ids == ("f0000",)
    assert dataset.manifest["dropped"]["curated_as_benign"] == 1


def test_answers_that_refuse_or_say_nothing_are_left_out(world):
    async def answers(prompts, max_tokens):
        return [["I'm sorry, but I can't help.", "  ", "Sure: do this."][i % 3] for i in range(len(prompts))]

    dataset = make(world, [world.flag(i) for i in range(3)], answers=answers, settings={"min_contrast": 9})
    assert {row.target for row in dataset.rows if row.kind is not RowKind.REFUSAL} == {"Sure: do this."}
    assert dataset.manifest["dropped"]["refusing_answer"] > 0


def test_a_wrong_number_of_answers_is_an_error(world):
    async def answers(prompts, max_tokens):
        return ["one"]

    with pytest.raises(AnswersMissing):
        make(world, [world.flag(0)], answers=answers)


def test_too_few_refusals_is_an_error_that_says_why(world):
    with pytest.raises(TooFewRows, match="not_accepted: 5"):
        make(world, [world.flag(i, state="OPEN") for i in range(5)])


def test_the_mix_follows_the_number_of_refusals(world):
    ratios = {"contrast_per_refusal": 2.0, "replay_per_refusal": 0.5, "min_contrast": 0, "min_replay": 0}
    assert make(world, [world.flag(i) for i in range(10)], settings=ratios).counts == {
        "refusal": 10,
        "contrast": 20,
        "replay": 5,
    }


def test_a_written_dataset_reads_back_the_same(world, tmp_path):
    dataset = make(world, [world.flag(0), world.flag(1, prompt='Strange\u2028line and \u00e9 quote" marks here now')])
    again = read_dataset(dataset.write(tmp_path / "d"))
    assert again == dataset and again.digest == dataset.digest


def test_a_changed_row_is_noticed(world, tmp_path):
    folder = make(world, [world.flag(i) for i in range(4)]).write(tmp_path / "d")
    rows = folder / "rows.jsonl"
    rows.write_text(rows.read_text().replace("Somebody could", "Nobody could", 1))
    with pytest.raises(DatasetInvalid, match="digest"):
        read_dataset(folder)


def test_a_folder_without_a_manifest_is_no_dataset(world, tmp_path):
    folder = make(world, [world.flag(i) for i in range(4)]).write(tmp_path / "d")
    (folder / "manifest.json").unlink()
    with pytest.raises(DatasetInvalid):
        read_dataset(folder)


def test_seed_texts_become_anchors_that_are_always_trained_on(world):
    text = SeedPrompt("x1", "text", "story", " ".join(f"word{i}" for i in range(100)))
    leak = SeedPrompt("x2", "text", "story", f"{world.guarded} " + " ".join(f"leak{i}" for i in range(40)))
    dataset = make(
        world, [world.flag(i) for i in range(4)], seed=world.seed(text, leak), settings={"validation_share": 0.4}
    )
    anchors = [row for row in dataset.rows if row.kind is RowKind.ANCHOR]
    assert [row.target.split()[0] for row in anchors] == ["word0", "word45"]
    assert {row.split for row in anchors} == {Split.TRAIN} and {row.prompt for row in anchors} == {""}
