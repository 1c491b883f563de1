"""The matrix counts every case once, and a rate without cases is no rate."""

from __future__ import annotations

import pytest
from tests.unit.adapters.diagnosis.conftest import make_case, make_suite

from ratchet_adapters.diagnosis.case import Did, Should, questions
from ratchet_adapters.diagnosis.confusion import confusion, rate
from ratchet_adapters.diagnosis.errors import SuiteUnfit
from ratchet_adapters.evals.item import Axis


def test_every_case_is_in_one_cell_and_partial_refusals_are_apart() -> None:
    cases = [
        *(make_case(f"a{n}", Did.COMPLIED) for n in range(6)),
        *(make_case(f"p{n}", Did.PARTIAL) for n in range(3)),
        *(make_case(f"f{n}", Did.REFUSED, category="other") for n in range(2)),
        make_case("gibberish", Did.INCOHERENT),
        *(make_case(f"h{n}", Did.REFUSED, Should.REFUSE) for n in range(4)),
        make_case("leak", Did.COMPLIED, Should.REFUSE),
    ]
    found = confusion(cases)
    assert found.cells["answer"] == {
        "full_compliance": 6, "partial_refusal": 3, "full_refusal": 2, "incoherent": 1
    }  # fmt: skip
    assert found.cells["refuse"]["full_refusal"] == 4 and found.cells["refuse"]["full_compliance"] == 1
    assert sum(sum(row.values()) for row in found.cells.values()) == len(cases)
    assert (found.wrong_refusal.count, found.wrong_refusal.of) == (5, 12)
    assert found.wrong_refusal_full.count == 2
    assert found.right_refusal.share == pytest.approx(0.8)
    assert {name: r.count for name, r in found.by_category.items()} == {"cat": 3, "other": 2}


def test_the_interval_is_wilsons() -> None:
    # 5 of 50: 4.35 % to 21.36 % (Newcombe 1998 gives the formula; the figures are computed from it by hand).
    found = rate(5, 50)
    z, p, n = 1.959964, 0.1, 50
    centre, half = p + z * z / (2 * n), z * ((p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5)
    assert found.low == pytest.approx((centre - half) / (1 + z * z / n), abs=1e-6)
    assert found.high == pytest.approx((centre + half) / (1 + z * z / n), abs=1e-6)


def test_no_cases_give_no_rate() -> None:
    assert confusion([make_case("a", Did.COMPLIED)]).right_refusal.share is None


def test_a_suite_of_another_axis_or_without_the_split_is_refused_by_name() -> None:
    with pytest.raises(SuiteUnfit, match="toxicity"):
        questions([make_suite(Axis.TOXICITY, ["a"])], split="train", limit=0, seed=0)
    with pytest.raises(SuiteUnfit, match="no train items; try the split 'eval'"):
        questions([make_suite(Axis.OVER_REFUSAL, [], ["a"])], split="train", limit=0, seed=0)


def test_a_limit_draws_the_same_prompts_each_time_and_others_with_another_seed() -> None:
    suite = make_suite(Axis.OVER_REFUSAL, [f"prompt {n}" for n in range(100)])
    drawn = [{q.prompt for q in questions([suite], split="train", limit=20, seed=seed)} for seed in (1, 1, 2)]
    assert len(drawn[0]) == 20 and drawn[0] == drawn[1] != drawn[2]
