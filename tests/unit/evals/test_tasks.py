"""Tasks that a program checks, preferences that a language model tells, and choices that follow a stereotype."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ratchet_adapters.evals import metrics
from ratchet_adapters.evals.errors import JudgeFailed, SuiteUnreadable
from ratchet_adapters.evals.item import Axis, Item
from ratchet_adapters.evals.judges import preference
from ratchet_adapters.evals.judges.instructions import RULES, kept
from ratchet_adapters.evals.judges.judge import Answer, judged
from ratchet_adapters.evals.judges.language import JudgeEndpointSettings
from ratchet_adapters.evals.judges.preference import PreferenceJudge
from ratchet_adapters.evals.judges.task import TaskJudge, final_number
from ratchet_adapters.evals.runner import evaluate
from ratchet_adapters.evals.suites import seed
from ratchet_adapters.evals.suites.bias import bbq, stereotypes
from ratchet_adapters.evals.suites.catalogue import catalogue
from ratchet_adapters.evals.suites.public import public_suite
from ratchet_adapters.evals.suites.suite import ItemSuite
from ratchet_adapters.evals.target import LogProb

# Each rule with an answer that keeps it and one that does not.
_CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "words_at_most", "n": 3}, "one two three", "one two three four"),
    ({"kind": "words_at_least", "n": 3}, "one two three", "one two"),
    ({"kind": "sentences", "n": 2}, "One thing. And another!", "One thing, and another."),
    ({"kind": "lines", "n": 2}, "one\n\ntwo", "one"),
    ({"kind": "paragraphs", "n": 2}, "one\ntwo\n\nthree", "one\ntwo"),
    ({"kind": "bullets", "n": 2}, "- one\n* two", "- one\ntwo"),
    ({"kind": "numbered", "n": 2}, "1. one\n2) two", "1. one\n3. two"),
    ({"kind": "says", "text": "tide", "n": 2}, "Tide and tide.", "Tides and tide."),
    ({"kind": "never_says", "text": "sun"}, "Sunday", "The Sun!"),
    ({"kind": "begins", "text": "Dear"}, "dear friend", "My dear"),
    ({"kind": "ends", "text": "The end."}, "So be it. The end.\n", "The end. Or not"),
    ({"kind": "upper_case"}, "ROME, 7", "Rome"),
    ({"kind": "lower_case"}, "rome, 7", "Rome"),
    ({"kind": "no_commas"}, "a and b", "a, b"),
    ({"kind": "json", "keys": ["a"]}, '```json\n{"a": 1, "b": 2}\n```', '{"b": 2}'),
    ({"kind": "one_of", "texts": ["yes"]}, "Yes.", "Yes, it is."),
]


@pytest.mark.parametrize(("rule", "good", "bad"), _CASES, ids=[case[0]["kind"] for case in _CASES])
def test_a_rule_tells_what_keeps_it_from_what_does_not(rule: dict[str, Any], good: str, bad: str) -> None:
    assert kept(rule, good) and not kept(rule, bad)
    # Silence keeps no rule.
    assert not kept(rule, "")


def test_every_rule_is_tried_above_and_used_by_the_shipped_items() -> None:
    used = {rule["kind"] for item in seed.instructions().items() for rule in item.extra["rules"]}
    assert {case[0]["kind"] for case in _CASES} == set(RULES) == used
    assert len(seed.instructions().items()) >= 50


def test_shipped_rules_can_all_be_checked() -> None:
    items = seed.instructions().items()
    found = judged(TaskJudge(), [Answer(item.prompt, "An answer", item.extra) for item in items])
    assert sum(one.value for one in found) < len(items) / 4


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 + 4 is 7, so the answer is 7 apples. There were 12.", "7"),
        ("Total: 1,234.50 dollars", "1234.50"),
        ("#### 18", "18"),
        ("The answer is $-5.", "-5"),
        ("First 2, then 3", "3"),
        ("I do not know", None),
    ],
)
def test_the_final_number_is_the_one_the_answer_ends_on(text: str, number: str | None) -> None:
    assert final_number(text) == (None if number is None else Decimal(number))


def test_an_equal_number_written_otherwise_is_right_and_an_item_without_a_check_fails() -> None:
    right, wrong = judged(TaskJudge(), [Answer("p", text, {"number": "1,200"}) for text in ("It is 1200.00", "1201")])
    assert (right.value, wrong.value) == (1.0, 0.0)
    for extra in (
        {},
        {"rules": []},
        {"rules": [{"kind": "unheard of"}]},
        {"rules": [{"kind": "lines"}]},
        {"number": "x"},
    ):
        with pytest.raises(JudgeFailed):
            judged(TaskJudge(), [Answer("p", "text", extra)])


async def test_tasks_are_asked_with_their_own_length_and_judged_by_their_item(target: Any) -> None:
    lengths: list[int] = []

    class Longer(type(target)):  # type: ignore[misc]
        async def generate(self, prompts: Sequence[str], *, adapter: str, max_tokens: int) -> list[str]:
            lengths.append(max_tokens)
            return ["The answer is 18"] * len(prompts)

    items = [Item(f"i{n}", "task", "c", f"c{n}", "eval", f"q{n}", {"number": str(17 + n)}) for n in range(2)]
    suite = ItemSuite("tasks", Axis.TASK, "MIT", "memory", lambda: items, "task", None, 300)
    result = await evaluate(Longer(), "", [suite], {Axis.TASK: TaskJudge()})
    assert set(lengths) == {300} and result.suites[0].sampling.max_tokens == 300
    assert metrics.headline(result)["task_accuracy"] == 0.5 == metrics.by_suite(result)["tasks"]


async def test_stereotyped_wrong_choices_count_and_right_ones_do_not(target: Any) -> None:
    # The second choice is always the likeliest.
    target.log_prob = lambda adapter, context, text: LogProb(-1.0 if text.strip() == "two" else -2.0, 1)
    shared = {"choices": ["one", "two"], "normalise": "tokens"}
    cases = {
        "wrong": {"answer": 0, "biased": 1},
        "right": {"answer": 1, "biased": 1},
        "other": {"answer": -1, "biased": 0},
    }
    items = [Item(name, "bias", "c", name, "eval", "Stem", shared | extra) for name, extra in cases.items()]
    tied = Item("tied", "bias", "c", "tied", "eval", "", {"choices": ["a", "b"], "answer": -1, "biased": 0})
    suite = ItemSuite("b", Axis.BIAS, "MIT", "memory", lambda: [*items, tied])
    result = await evaluate(target, "", [suite], {})
    assert [(item.id, item.value, item.label) for item in result.suites[0].items] == [
        ("wrong", 1.0, "stereotyped"), ("right", 0.0, "right"), ("other", 0.0, "other"), ("tied", 0.0, "other"),
    ]  # fmt: skip
    assert metrics.headline(result)["bias"] == 0.25
    # Whole texts are scored from the beginning, without a space before them.
    assert ("", "a") in target.scored and ("Stem", " one") in target.scored


def test_the_shipped_pairs_are_a_suite_and_bbq_is_read_whole(shared_data: Path) -> None:
    assert len(stereotypes().items()) == 140 and stereotypes().axis is Axis.BIAS
    suite = bbq(shared_data / "bbq", limit=400)
    assert 300 <= len(suite.items()) <= 400
    assert {item.extra["condition"] for item in suite.items()} == {"ambig", "disambig"}


def test_capability_sets_as_published_upstream(shared_data: Path) -> None:
    mmlu = public_suite("mmlu_redux", shared_data / "mmlu_redux").items()
    assert len(mmlu) > 5000 and len({item.category for item in mmlu}) == 57
    numbers = public_suite("gsm8k", shared_data / "gsm8k" / "test.jsonl").items()
    assert len(numbers) == 1319 and numbers[0].extra == {"number": "18"}
    found = judged(TaskJudge(), [Answer("", f"So #### {item.extra['number']}", item.extra) for item in numbers])
    assert all(one.value == 1.0 for one in found)


def test_a_set_published_without_answers_is_refused(tmp_path: Path) -> None:
    row = {"id": "x", "question": {"stem": "Q", "choices": [{"label": "A", "text": "a"}, {"label": "B", "text": "b"}]}}
    (tmp_path / "test.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(SuiteUnreadable, match="answerKey"):
        public_suite("commonsenseqa", tmp_path / "test.jsonl").items()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[dict[str, str]], str]], PreferenceJudge]:
    def make(choose: Callable[[dict[str, str]], str]) -> PreferenceJudge:
        def reply(settings: Any, requests: Sequence[str]) -> list[str]:
            return [choose(json.loads(request.rpartition("\n\n")[2])) for request in requests]

        monkeypatch.setattr(preference, "asked_together", reply)
        return PreferenceJudge(JudgeEndpointSettings.model_validate({"url": "http://127.0.0.1:1/v1", "model": "j"}))

    return make


def test_a_preference_must_hold_in_both_orders(told: Any) -> None:
    answers = [Answer("p", "a good reply", {"chosen": "the known one"}), Answer("p", "x " * 60, {"chosen": "known"})]
    for choose, value, label in (
        (lambda shown: "first" if "good" in shown["first"] else "second", 1.0, "better"),
        (lambda shown: "second" if "good" in shown["first"] else "first", 0.0, "worse"),
        (lambda shown: "first", 0.5, "undecided"),
    ):
        good, gibberish = judged(told(choose), answers)
        assert (good.value, good.label) == (value, label)
        assert (gibberish.value, gibberish.label) == (0.0, "incoherent")
    with pytest.raises(JudgeFailed, match="must say one of"):
        judged(told(lambda shown: "both"), answers)
    with pytest.raises(JudgeFailed, match="chosen"):
        judged(told(lambda shown: "first"), [Answer("p", "text")])


def test_every_suite_has_a_card_and_what_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "advbench.csv").write_text("goal,target\nDo a bad thing,Sure\n", encoding="utf-8")
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text('{"question": "Q", "answer": "7"}\n', encoding="utf-8")
    cards = {card.name: card for card in catalogue(tmp_path)}
    assert all(card.axis and card.licence and card.judge and card.noise for card in cards.values())
    assert cards["advbench"].items == 1 and not cards["advbench"].missing
    assert cards["gsm8k"].items is None and "####" in cards["gsm8k"].missing
    assert "bbq=PATH" in cards["bbq"].missing and "hub" in cards["crows_pairs"].missing
    twins = cards["seed-benign-twins"]
    assert twins.items and twins.detectable and 0.02 < twins.detectable < 0.2
    assert cards["seed-text"].detectable is None
