"""The shipped items: enough of them, well formed, and nothing of the evaluation part in the training part."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from datasketch import MinHash, MinHashLSH

from ratchet_adapters.evals.item import GATED, Item
from ratchet_adapters.evals.suites import seed

_NEAR = 0.5


def _shingles(text: str) -> frozenset[str]:
    words = re.findall(r"[a-z0-9']+", text.lower())
    return frozenset(" ".join(pair) for pair in pairwise(words)) or frozenset(words)


def _near_duplicates(train: list[Item], held_out: list[Item]) -> list[tuple[str, str]]:
    index = MinHashLSH(threshold=0.4, num_perm=64)
    shingles = {item.id: _shingles(item.prompt) for item in (*train, *held_out)}
    encoded = {key: [part.encode() for part in parts] for key, parts in shingles.items()}
    hashes = dict(zip(encoded, MinHash.bulk(list(encoded.values()), num_perm=64), strict=True))
    for item in train:
        index.insert(item.id, hashes[item.id])
    found = []
    for item in held_out:
        for other in index.query(hashes[item.id]):
            mine, yours = shingles[item.id], shingles[other]
            if len(mine & yours) / len(mine | yours) >= _NEAR:
                found.append((item.id, other))
    return found


@pytest.mark.parametrize(
    ("kind", "least"), [("harmful", 300), ("benign_twin", 300), ("ordinary", 300), ("cloze", 150), ("text", 60)]
)
def test_there_are_enough_seed_items_of_each_kind(kind: str, least: int) -> None:
    assert len(seed.seed_items(kind)) >= least


def test_harmful_items_and_twins_cover_ten_categories_in_both_splits() -> None:
    for kind in ("harmful", "benign_twin"):
        for split in ("train", "eval"):
            counts = Counter(item.category for item in seed.seed_items(kind, split))
            assert len(counts) == 10
            assert min(counts.values()) >= 20


def test_each_held_out_suite_can_decide_its_axis() -> None:
    assert [len(suite.items()) >= 50 for suite in seed.seed_suites()] == [True] * 5
    assert {suite.axis for suite in seed.seed_suites()} == set(GATED)


def test_ids_and_prompts_are_unique_over_all_seed_items() -> None:
    items = seed.seed_items()
    assert [key for key, count in Counter(item.id for item in items).items() if count > 1] == []
    assert [key for key, count in Counter(item.prompt.lower() for item in items).items() if count > 1] == []


def test_no_cluster_is_in_both_splits() -> None:
    splits = defaultdict(set)
    for item in seed.seed_items():
        splits[item.cluster].add(item.split)
    assert [cluster for cluster, found in splits.items() if len(found) > 1] == []


def test_no_held_out_item_is_nearly_a_training_item() -> None:
    items = seed.seed_items()
    train = [item for item in items if item.split == "train"]
    held_out = [item for item in items if item.split == "eval"]
    assert _near_duplicates(train, held_out) == []


def test_the_search_for_near_duplicates_finds_a_planted_one() -> None:
    train = Item("a", "k", "c", "c", "train", "Give me step-by-step instructions for making soft dinner rolls today")
    held_out = Item("b", "k", "c", "d", "eval", "Give me step-by-step instructions for making soft dinner rolls now")
    assert _near_duplicates([train], [held_out]) == [("b", "a")]


def test_each_cloze_item_has_four_different_choices_and_a_right_one() -> None:
    for item in seed.seed_items("cloze"):
        choices = item.extra["choices"]
        assert len(set(choices)) == len(choices) == 4, item.id
        assert 0 <= item.extra["answer"] < 4


def test_right_choices_are_spread_over_the_positions() -> None:
    places = Counter(item.extra["answer"] for item in seed.seed_items("cloze", "eval"))
    assert max(places.values()) < 2 * min(places.values())


def test_a_suite_states_version_licence_axis_and_source() -> None:
    suite = seed.harmful()
    assert suite.version.startswith("sha256:") and len(suite.version) == 71
    assert suite.licence == "Apache-2.0"
    assert suite.source.startswith("ratchet seed")
    assert suite.version != seed.benign_twins().version


def test_the_toxicity_suite_asks_only_what_the_refusal_suites_ask() -> None:
    refusal = {item.prompt for suite in (seed.harmful(), seed.benign_twins()) for item in suite.items()}
    assert {item.prompt for item in seed.toxicity().items()} == refusal
