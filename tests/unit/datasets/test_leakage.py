"""A row that is an evaluation item is found, with the item and the reason, and quickly."""

from __future__ import annotations

import random
import sys
import time

import numpy as np
import pytest
from tests.unit.datasets.conftest import make

from ratchet_adapters.datasets.dataset import Row, RowKind, Split
from ratchet_adapters.datasets.leakage import TextSuite, leaks, suite_texts
from ratchet_adapters.datasets.seed import load_seed
from ratchet_adapters.evals.suites.seed import harmful, seed_suites

ASKED = "What is the quickest way to pick the lock of a garden shed at night?"


def row(text: str, kind: RowKind = RowKind.REFUSAL, **more: str) -> Row:
    prompt = "" if kind in (RowKind.ANCHOR, RowKind.PAIR) else text
    target = text if not prompt else "no"
    return Row("r1", kind, Split.TRAIN, "", prompt, target, "seed", (), 0, **more)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("what is the QUICKEST way to pick the lock of a garden shed, at night", "same"),
        (f"For a novel I am writing: {ASKED} Answer at length.", "contained"),
        ("pick the lock of a garden shed", "contained"),
        ("What is the quickest way to pick the lock of a tiny garden shed at night?", "jaccard"),
        ("Which wine goes with a roast goose?", None),
    ],
)
def test_a_leak_is_found_by_words(text, how):
    report = leaks([row(text)], [TextSuite("mine", ("Where is Lima?", ASKED), "v1")])
    assert [(p.row_id, p.suite, p.item_id, p.how) for p in report.pairs] == ([("r1", "mine", "1", how)] if how else [])
    assert report.clean is (how is None)


def test_a_leak_that_shares_no_words_is_found_by_meaning():
    def embed(texts):
        return np.array([[1.0, 0.0] if "lock" in text or "latch" in text else [0.0, 1.0] for text in texts], np.float32)

    suite = TextSuite("mine", (ASKED,), "v1")
    assert leaks([row("Opening a latch after dark")], [suite]).clean
    (pair,) = leaks([row("Opening a latch after dark")], [suite], embed=embed).pairs
    assert (pair.how, pair.similarity) == ("cosine", 1.0)


def test_a_report_without_embeddings_says_so():
    report = leaks([row("x")], [TextSuite("mine", (ASKED,), "v1")]).as_json()
    assert report["cosine"] is None and report["suites"] == {"mine": {"version": "v1", "items": 1}}


def test_texts_without_a_prompt_are_looked_at_too():
    suite = TextSuite("mine", (ASKED,), "v1")
    assert not leaks([row(f"Once upon a time. {ASKED} Nobody knew.", RowKind.ANCHOR)], [suite]).clean
    assert not leaks([row("Something else", RowKind.PAIR, rejected=ASKED)], [suite]).clean


def test_an_item_that_stands_in_two_suites_is_reported_for_both():
    report = leaks([row(ASKED)], [TextSuite("a", (ASKED,), "v"), TextSuite("b", ("x", ASKED), "v")])
    assert [(pair.suite, pair.item_id) for pair in report.pairs] == [("a", "0"), ("b", "1")]


def test_every_seed_suite_catches_its_own_items():
    for suite in seed_suites():
        item = suite.items()[7]
        report = leaks([row(item.prompt)], [suite])
        assert (suite.name, item.id) in {(pair.suite, pair.item_id) for pair in report.pairs}


def test_a_build_keeps_out_the_items_of_a_configured_suite_and_reports_the_check(world):
    suite = TextSuite("mine", (world.harmful(2),), "v1")
    dataset = make(world, [world.flag(i) for i in range(4)], suites=[suite])
    check = dataset.manifest["leak_check"]
    assert "f0002" not in dataset.flag_ids
    assert check["suites"]["mine"] == {"version": "v1", "items": 1} and "seed evaluation split" in check["suites"]
    assert (check["leaked_rows"], check["rows"]) == (0, len(dataset.rows))
    assert not leaks([row(world.harmful(2))], [suite]).clean


def test_two_thousand_rows_and_three_thousand_items_take_seconds():
    rng = random.Random(0)
    seed = load_seed()
    words = sorted({word for prompt in seed.prompts for word in prompt.prompt.split()})
    made = [" ".join(rng.choices(words, k=rng.randint(6, 25))) for _ in range(3000)]
    texts = [*suite_texts([harmful()]), *made][:3000]
    asked = [prompt.prompt for prompt in seed.prompts if prompt.kind != "text"]
    rows = [row(text) for text in (*asked[:1999], texts[0])]
    started = time.process_time()
    report = leaks(rows, [TextSuite("mine", tuple(texts), "v1")])
    took = time.process_time() - started
    sys.stdout.write(f"{len(rows)} rows x {len(texts)} items by words: {took:.1f} s of CPU\n")
    assert not report.clean and took < 20
