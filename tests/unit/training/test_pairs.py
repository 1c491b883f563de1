"""Preference pairs: which answer is chosen, what is turned round by ratings, what is left out and counted."""

from __future__ import annotations

from functools import partial

import pytest

from ratchet_adapters.datasets.bank import load_bank
from ratchet_adapters.datasets.dataset import Row, RowKind, Split
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.trainers.pairs import make_pairs
from ratchet_adapters.training.trainers.ratings import RowRatings, ScorerRatings

REFUSAL = "i can not help"


def row(name, kind="refusal", target=REFUSAL, rejected="here is the w1 w2", **changes):
    fixed = {"split": Split.TRAIN, "category": "", "prompt": f"w{len(name)} {name}", "origin": "seed", "flag_ids": ()}
    return Row(
        **{"id": name, "kind": RowKind(kind), "target": target, "rejected": rejected, "cluster": 0} | fixed | changes
    )


class Rated:
    """Rates as it is told: by the answer's text."""

    def __init__(self, *unsafe):
        self.bad = set(unsafe)

    def unsafe(self, rows, answers):
        return [answer in self.bad for answer in answers]


settings = partial(method("dpo").settings, judge="rows")


def test_refusal_rows_prefer_the_refusal_and_contrast_rows_the_answer():
    rows = [row("h"), row("b", "contrast", "here is the w5", "i can not"), row("o", "replay"), row("a", "anchor")]
    made = make_pairs(rows, settings(), RowRatings())
    assert [(pair.row, pair.chosen, pair.rejected, pair.over_refusal) for pair in made.pairs] == [
        ("h", REFUSAL, "here is the w1 w2", False),
        ("b", "here is the w5", "i can not", True),
    ]
    assert [(pair.chosen_unsafe, pair.rejected_unsafe) for pair in made.pairs] == [(False, True), (False, False)]
    assert made.left_out == {} and made.swapped == 0


def test_unsafe_chosen_and_safe_rejected_change_places_and_two_unsafe_are_left_out():
    rows = [row("swap", target="bad", rejected=REFUSAL), row("both", target="bad", rejected="worse"), row("fine")]
    made = make_pairs(rows, settings(), Rated("bad", "worse", "here is the w1 w2"))
    assert [(pair.row, pair.chosen, pair.rejected) for pair in made.pairs] == [
        ("swap", REFUSAL, "bad"),
        ("fine", REFUSAL, "here is the w1 w2"),
    ]
    assert all(pair.rejected_unsafe and not pair.chosen_unsafe for pair in made.pairs)
    assert made.swapped == 1 and made.left_out == {"both_unsafe": 1}


def test_traffic_is_never_chosen_and_a_scorer_alone_teaches_no_refusal_of_a_benign_prompt():
    rows = [
        row("flag", target="bad", rejected="user text", flag_ids=("f",)),
        row("twin", "contrast", "bad", REFUSAL),
        row("polite", target=REFUSAL, rejected="no thanks"),
    ]
    made = make_pairs(rows, settings(), Rated("bad"))
    assert made.pairs == () and made.left_out == {"unsafe_chosen": 2, "both_safe": 1}


def test_rows_without_what_a_pair_needs_are_counted():
    rows = [row("none", rejected=" "), row("empty", target=""), row("same", target="x", rejected="x")]
    assert make_pairs(rows, settings(), Rated()).left_out == {"no_rejected": 1, "no_chosen": 1, "same_answers": 1}


def test_a_contrast_row_gets_a_template_of_its_category_by_seed():
    rows = [row(f"c{i}", "contrast", "here is", "", category="fraud") for i in range(30)]
    drawn = [pair.rejected for pair in make_pairs(rows, settings(), RowRatings()).pairs]
    assert drawn == [pair.rejected for pair in make_pairs(rows[::-1], settings(), RowRatings()).pairs][::-1]
    assert drawn != [pair.rejected for pair in make_pairs(rows, settings(seed=1), RowRatings()).pairs]
    assert len(set(drawn)) > 3
    assert make_pairs(rows, settings(template_refusals=False), RowRatings()).left_out == {"no_rejected": 30}


@pytest.mark.parametrize("share", [0.0, 0.2, 0.3, 0.5, 0.8, 1.0])
def test_the_share_of_over_refusal_pairs_is_kept_with_as_many_pairs_as_possible(share):
    rows = [row(f"h{i}") for i in range(14)] + [row(f"c{i}", "contrast", "here", "no") for i in range(6)]
    made = make_pairs(rows, settings(over_refusal_share=share), RowRatings())
    found = sum(pair.over_refusal for pair in made.pairs)
    assert found == {0.0: 0, 0.2: 3, 0.3: 6, 0.5: 6, 0.8: 6, 1.0: 6}[share]
    assert len(made.pairs) == {0.0: 14, 0.2: 17, 0.3: 20, 0.5: 12, 0.8: 7, 1.0: 6}[share]
    assert sum(made.left_out.values()) == 20 - len(made.pairs)


def test_scorers_rate_toxic_answers_and_compliance_with_what_triage_takes_for_harmful():
    class Scorer:
        primary, threshold = "p", 0.5

        def __init__(self, word):
            self.word = word

        def score(self, texts):
            return [{"p": float(self.word in text)} for text in texts]

    judge = ScorerRatings(Scorer("bomb"), Scorer("idiot"))
    rows = [
        row("h", prompt="x"), row("h", prompt="x"), row("c", "contrast", prompt="bath bomb"),
        row("c", "contrast", prompt="bath bomb"), row("c", "contrast", prompt="y"), row("c", "contrast", prompt="y"),
    ]  # fmt: skip
    answers = ["sure", "i cannot help", "sure", "i cannot help", "idiot", "you idiot, i cannot help"]
    assert list(judge.unsafe(rows, answers)) == [True, False, True, False, True, False]


def test_every_template_counts_as_a_refusal():
    texts = [text for texts in load_bank().refusals.values() for text in texts]
    assert not any(RowRatings().unsafe([row("h")] * len(texts), texts))
