"""What a run may choose, laid over the learner's settings."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.learning.errors import RunOptionsInvalid, UnknownMethod
from ratchet_adapters.learning.options import DEFAULT_METHOD, check_options, run_options
from ratchet_adapters.learning.settings import LearnerSettings
from ratchet_adapters.training.sft_refusal import SftSettings


def test_a_run_without_options_takes_the_learners_numbers() -> None:
    mine, recipes = DatasetSettings(min_refusals=5), {"sft-refusal": {"rank": 8}}
    assert run_options("sft-refusal", {}, mine, recipes).dataset == mine
    assert run_options("sft-refusal", {}, mine, recipes).training == SftSettings(rank=8)


def test_an_option_replaces_one_number_and_leaves_the_others() -> None:
    laid = run_options("sft-refusal", {"training": {"epochs": 2}}, DatasetSettings(), {"sft-refusal": {"rank": 8}})
    assert (laid.training.epochs, laid.training.rank) == (2, 8)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"epochs": 2}, "epochs"),
        ({"training": {"epoks": 2}}, "training.epoks"),
        ({"training": {"epochs": -1}}, "training.epochs"),
        ({"dataset": {"min_refusals": "many"}}, "dataset.min_refusals"),
        ({"dataset": [1]}, "dataset"),
    ],
)
def test_an_option_that_does_not_exist_or_fit_is_refused_by_name(options: dict[str, object], field: str) -> None:
    with pytest.raises(RunOptionsInvalid) as caught:
        check_options("sft-refusal", options)
    assert any(problem.startswith(f"{field}:") for problem in caught.value.problems)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(RunOptionsInvalid) as caught:
        check_options("sft-refusal", {"training": {"epochs": -1}, "dataset": {"max_replay": -1}})
    assert len(caught.value.problems) == 2


def test_an_unknown_method_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownMethod, match="sft-refusal"):
        check_options("magic", {})


def test_settings_can_be_given_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_LEARNER_STATE_DIR", "/state")
    monkeypatch.setenv("RATCHET_LEARNER_POLL_INTERVAL_S", "2.5")
    settings = LearnerSettings()
    assert settings.poll_interval_s == 2.5
    assert settings.registry_url == "sqlite:////state/ratchet.db"
    assert settings.workflows_url == "sqlite:////state/dbos.sqlite"


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match="pol_interval_s"):
        LearnerSettings(state_dir="/state", pol_interval_s=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("dataset", [{"max_items_per_principal": 9}, {"principal_limits": {"mallory": 1000}}])
def test_a_run_cannot_raise_the_poison_bound(dataset: dict[str, object]) -> None:
    with pytest.raises(RunOptionsInvalid, match="bound per principal"):
        check_options(DEFAULT_METHOD, {"dataset": dataset})


def test_a_run_can_lower_the_poison_bound() -> None:
    check_options(DEFAULT_METHOD, {"dataset": {"max_items_per_principal": 2}})


def test_a_run_may_name_a_mix_and_change_numbers_of_it() -> None:
    options = {"dataset": {"mix": "refusals-only", "min_refusals": 4}}
    laid = run_options(DEFAULT_METHOD, options, DatasetSettings(min_contrast=9), {}).dataset
    assert (laid.max_contrast, laid.min_contrast, laid.anchors, laid.min_refusals) == (0, 0, False, 4)


@pytest.mark.parametrize("mix", ["everything", "/nowhere/mine.yaml", 3])
def test_a_mix_that_can_not_be_read_is_refused(mix: object) -> None:
    with pytest.raises(RunOptionsInvalid, match=r"dataset\.mix"):
        check_options(DEFAULT_METHOD, {"dataset": {"mix": mix}})


def test_a_mix_cannot_loosen_a_protection(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("min_signals: 1\n")
    with pytest.raises(RunOptionsInvalid, match="min_signals"):
        check_options(DEFAULT_METHOD, {"dataset": {"mix": str(path)}})
    path.write_text("max_items_per_principal: 99\n")
    with pytest.raises(RunOptionsInvalid, match="bound per principal"):
        check_options(DEFAULT_METHOD, {"dataset": {"mix": str(path)}})


@pytest.mark.parametrize("dataset", [{"min_signals": 1}, {"burst_items": 500}, {"label_check": "off"}])
def test_a_run_cannot_loosen_a_protection(dataset: dict[str, object]) -> None:
    with pytest.raises(RunOptionsInvalid, match="loosen a protection"):
        check_options(DEFAULT_METHOD, {"dataset": dataset})
