"""The search: bounded, seeded, and continued after whatever ended it."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from tests.unit.adapters.tuning.conftest import BASE, Trainer, evaluate

from ratchet_adapters.training.errors import TrainingCancelled, TrainingDiverged
from ratchet_adapters.tuning.errors import NoTrialFits, SearchBusy, SearchOfOther
from ratchet_adapters.tuning.objectives import Measured, parse_constraint
from ratchet_adapters.tuning.report import write_report


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_equal_seeds_make_equal_searches_and_trials_are_bounded(space, tmp_path, sampler):
    from ratchet_adapters.tuning.study import Search

    asked = []
    for place, seed in enumerate([3, 3, 4]):
        trainer = Trainer()
        found = Search(space, trainer, evaluate, tmp_path / str(place), sampler=sampler, seed=seed).run(
            trials=12, minutes=1
        )
        assert len(found.done) == len(trainer.asked) == 12 and found.base == BASE
        asked.append([entry["training"] for entry in trainer.asked])
    assert asked[0] == asked[1] != asked[2]
    assert all(1 <= entry["rank"] <= 64 and 1e-4 <= entry["learning_rate"] <= 1e-2 for entry in asked[0])


def test_the_objectives_are_what_was_measured(search):
    found = search(Trainer()).run(trials=3, minutes=1)
    for trial in found.done:
        assert trial.options["dataset"] == {"seed_harmful": 32}
        assert trial.measured.nll_change == pytest.approx(20 * trial.options["training"]["learning_rate"])
        assert trial.measured.refusal == pytest.approx(0.2 + 0.7 * trial.options["training"]["rank"] / 64)


def test_a_search_continues_and_proposes_nothing_twice(search):
    first, second = Trainer(), Trainer()
    before = search(first).run(trials=4, minutes=1)
    after = search(second).run(trials=9, minutes=1)
    assert len(first.asked) == 4 and len(second.asked) == 5
    assert after.done[:4] == before.done
    everything = [json.dumps(entry) for entry in first.asked + second.asked]
    assert len(set(everything)) == 9
    assert search(third := Trainer()).run(trials=9, minutes=1).done == after.done and not third.asked


def test_a_killed_trial_is_failed_and_comes_again_first(search, tmp_path):
    def kill(options, should_stop):
        if len(trainer.asked) == 3:
            raise KeyboardInterrupt

    trainer = Trainer(kill)
    with pytest.raises(KeyboardInterrupt):
        search(trainer).run(trials=5, minutes=1)
    again = Trainer()
    found = search(again).run(trials=5, minutes=1)
    assert again.asked[0] == trainer.asked[2], "the trial that was cut short comes first"
    assert len(found.done) == 5 and all(trial.measured for trial in found.done)
    assert 2 not in [trial.number for trial in found.done], "the killed one counts for nothing"


def test_a_process_killed_in_mid_trial_leaves_a_search_that_continues(search, tmp_path):
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from ratchet_adapters.tuning.space import Space\nfrom ratchet_adapters.tuning.study import Search\n"
        "from tests.unit.adapters.tuning.conftest import Trainer, evaluate\n"
        "trainer = Trainer(lambda options, stop: os._exit(9) if len(trainer.asked) == 2 else None)\n"
        "space = Space.model_validate_json(sys.argv[1])\n"
        "Search(space, trainer, evaluate, Path(sys.argv[2])).run(trials=4, minutes=1)\n"
    )
    made = search(trainer := Trainer())
    command = [sys.executable, "-c", script, made._space.model_dump_json(), str(tmp_path / "out")]
    assert subprocess.run(command, timeout=120).returncode == 9
    found = made.run(trials=4, minutes=1)
    assert len(found.done) == 4 and len(trainer.asked) == 3


def test_recipes_that_can_not_be_trained_fail_for_good_and_the_search_goes_on(search):
    def diverge(options, should_stop):
        if len(trainer.asked) == 2:
            raise TrainingDiverged(7)

    trainer = Trainer(diverge)
    found = search(trainer).run(trials=4, minutes=1)
    assert [bool(trial.failure) for trial in found.done] == [False, True, False, False]
    assert "step 7" in found.done[1].failure and found.done[1] not in found.front


def test_a_figure_that_is_no_number_is_a_failure_not_a_result(search):
    def broken(adapter):
        return BASE if adapter is None else Measured(0.9, 0.1, float("nan"))

    found = search(Trainer(), evaluate=broken).run(trials=2, minutes=1)
    assert all(trial.measured is None and "not finite" in trial.failure for trial in found.done)
    assert found.front == ()


def test_time_is_bounded_and_the_trial_under_way_is_put_off(search):
    def slow(options, should_stop):
        while not should_stop():
            time.sleep(0.01)
        raise TrainingCancelled(0)

    trainer = Trainer(slow)
    began = time.monotonic()
    found = search(trainer).run(trials=5, minutes=0.01)
    assert time.monotonic() - began < 20 and found.done == () and len(trainer.asked) == 1
    again = Trainer()
    search(again).run(trials=1, minutes=1)
    assert again.asked == trainer.asked


def test_a_folder_of_another_search_is_refused_and_one_in_use_too(search, tmp_path):
    search(Trainer()).run(trials=1, minutes=1)
    with pytest.raises(SearchOfOther, match="seed"):
        search(Trainer(), seed=5).run(trials=2, minutes=1)
    with pytest.raises(SearchOfOther, match="validation"):
        search(Trainer(), identity="other").run(trials=2, minutes=1)

    def meanwhile(options, should_stop):
        with pytest.raises(SearchBusy):
            search(Trainer()).run(trials=3, minutes=1)

    assert len(search(Trainer(meanwhile)).run(trials=2, minutes=1).done) == 2


def test_the_report_has_the_options_of_the_taken_trial_and_loads_nothing(search, tmp_path):
    from ratchet_adapters.learning.options import check_options

    found = search(Trainer()).run(trials=8, minutes=1)
    written = write_report(found, (), tmp_path / "out")
    options = json.loads(written.options.read_text())
    assert options == written.best.options and written.best in found.front
    check_options(found.method, options)
    page = written.page.read_text()
    assert "<svg" in page and "http://" not in page.replace("http://www.w3.org", "") and "<script" not in page
    assert (tmp_path / "out" / "front.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((tmp_path / "out" / "tuning.json").read_text())["best"] == written.best.number
    bounded = write_report(found, [parse_constraint("over_refusal<=0.15")], tmp_path / "out")
    assert bounded.best.measured.over_refusal <= 0.15
    best = max(t.measured.refusal for t in found.done if t.measured.over_refusal <= 0.15)
    assert bounded.best.measured.refusal == best
    with pytest.raises(NoTrialFits, match="best refusal was"):
        write_report(found, [parse_constraint("refusal>=0.999")], tmp_path / "out")
    assert not (tmp_path / "out" / "best.json").exists(), "options that no rule chose must not be trained with"
