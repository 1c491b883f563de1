"""Bursts are quarantined, one signal alone trains nothing, and what was left out stands in the manifest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.datasets.conftest import make

from ratchet_adapters.datasets.dataset import RowKind
from ratchet_adapters.datasets.quarantine import burst
from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.datasets.signals import signals_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def copies(world, count, principals, *, seconds=3600.0):
    prompt = world.harmful(700)
    return [
        world.flag(
            1000 + i,
            prompt=f"{prompt}{'!' * (i % 3)}",
            principal=f"sock-{i % principals}",
            created_at=NOON + timedelta(seconds=seconds * i),
        )
        for i in range(count)
    ]


def test_a_burst_from_few_principals_does_not_train_and_is_listed(world):
    flags = [world.flag(i) for i in range(4)] + copies(world, 51, 9)
    dataset = make(world, flags)
    assert dataset.flag_ids == tuple(f"f{i:04}" for i in range(4))
    (listed,) = dataset.manifest["quarantined"]
    assert len(listed["flags"]) == 51 and listed["principals"] == 9 and "fewer than 10" in listed["reason"]
    assert dataset.manifest["dropped"]["quarantined"] == 51


@pytest.mark.parametrize(("count", "principals"), [(50, 1), (51, 10)])
def test_a_popular_question_over_time_is_no_burst(world, count, principals):
    assert burst(copies(world, count, principals), DatasetSettings()) is None


def test_many_principals_within_a_minute_are_a_burst(world):
    found = burst(copies(world, 60, 60, seconds=1.0), DatasetSettings())
    assert found is not None and "within 60 s" in found.reason
    assert burst(copies(world, 60, 60, seconds=1.3), DatasetSettings()) is None


@pytest.mark.parametrize(
    ("changes", "signals"),
    [
        ({"source": "SCORER"}, ("detector", "reviewer")),
        ({"source": "RAIL"}, ("detector", "reviewer")),
        ({"source": "USER"}, ("claim", "reviewer")),
        ({"source": "IMPORT"}, ("claim", "reviewer")),
        ({"source": "SCORER", "reviewer": "user-1"}, ("detector",)),
        ({"source": "USER", "reviewer": " USER-1 "}, ("claim",)),
        ({"source": "USER", "reviewer": ""}, ("claim",)),
        ({"source": "USER", "reviewer": "user-1", "scores": {"input_harm": 0.8}}, ("claim", "detector")),
        ({"source": "USER", "reviewer": "user-1", "scores": {"input_harm": 0.4}}, ("claim",)),
        ({"source": "IMPORT", "reviewer": "user-1", "scores": {"input_harm": 1.0}}, ("claim",)),
    ],
)
def test_signals_are_those_that_do_not_depend_on_each_other(world, changes, signals):
    assert signals_of([world.flag(1, **changes)], DatasetSettings()) == signals


def test_a_needless_refusal_is_backed_by_scores_that_say_so(world):
    flag = {"kind": "OVER_REFUSAL", "reviewer": "user-1"}
    refused = world.flag(1, **flag, scores={"input_harm": 0.02, "refusal": 0.9})
    answered = world.flag(1, **flag, scores={"input_harm": 0.02})
    assert signals_of([refused], DatasetSettings()) == ("claim", "detector")
    assert signals_of([answered], DatasetSettings()) == ("claim",)


def test_the_same_source_twice_is_one_signal(world):
    two = [world.flag(1, reviewer="user-1"), world.flag(2, prompt=world.harmful(1), reviewer="user-2")]
    assert signals_of(two, DatasetSettings()) == ("claim",)


def test_an_item_with_one_signal_does_not_train_and_is_listed(world):
    alone = world.flag(9, source="SCORER", reviewer="user-9")
    dataset = make(world, [world.flag(0), world.flag(1), alone])
    assert dataset.flag_ids == ("f0000", "f0001")
    assert dataset.manifest["too_few_signals"] == [{"flags": ["f0009"], "signals": ["detector"]}]
    assert dataset.manifest["dropped"]["too_few_signals"] == 1
    assert "f0009" in make(world, [world.flag(0), alone], settings={"min_signals": 1}).flag_ids


def test_personal_data_of_a_flag_reaches_no_row_and_is_counted(world):
    prompt = f"{world.harmful(5)} and send it to jane.doe@mail.example or +49 30 901820"
    dataset = make(world, [world.flag(0), world.flag(1, prompt=prompt)])
    row = next(row for row in dataset.rows if row.flag_ids == ("f0001",))
    assert row.prompt.endswith("send it to <EMAIL> or <PHONE>")
    assert dataset.manifest["pii"] == {"EMAIL": 1, "PHONE": 1}


def test_an_answer_with_personal_data_is_left_out(world):
    async def answers(prompts, max_tokens):
        return ["Ask bob@mail.example." if i % 2 else "Here it is." for i in range(len(prompts))]

    dataset = make(world, [world.flag(0)], answers=answers)
    assert {row.target for row in dataset.rows if row.kind is not RowKind.REFUSAL} == {"Here it is."}
    assert dataset.manifest["dropped"]["pii_in_answer"] == 6


def test_an_accepted_over_refusal_of_a_curated_harmful_prompt_teaches_nothing(world):
    harmful = world.seed().of("harmful")[0].prompt
    dataset = make(world, [world.flag(0), world.flag(1, prompt=harmful, kind="OVER_REFUSAL")])
    assert dataset.flag_ids == ("f0000",) and dataset.manifest["dropped"]["curated_as_harmful"] == 1


@pytest.mark.parametrize(
    "weaker",
    [{"min_signals": 1}, {"burst_items": 99}, {"burst_principals": 2}, {"label_check": "report"}, {"cosine": 0.99},
     {"phone_regions": ("US",)}, {"principal_limits": {"m": 9}}, {"label_confidence": 0.99}],
)  # fmt: skip
def test_a_weaker_protection_is_named(weaker):
    assert DatasetSettings().loosened(DatasetSettings(**weaker)) == tuple(weaker)
    assert DatasetSettings(**weaker).loosened(DatasetSettings(**weaker)) == ()
