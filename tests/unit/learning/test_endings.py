"""Promotion and the ends of a run, against a real registry; no server is there to be called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ratchet_adapters.artifacts import open_store
from ratchet_adapters.evals.gates.report import AxisResult, GateOutcome, GateReport
from ratchet_adapters.flags import FlagStore
from ratchet_adapters.learning import (
    BaseModelUnusable,
    CandidateRefused,
    LearnerSettings,
    PromotionRefused,
    proving,
    steps,
    teaching,
)
from ratchet_adapters.learning.second_chance import SecondChance
from ratchet_adapters.learning.trail import Trail
from ratchet_adapters.learning.workbench import Workbench
from ratchet_adapters.registry import AdapterRecord, Proof, Registry, ReportRecord, RunState

CANDIDATE = "sha256:" + "c" * 64
BASE = "sha256:" + "b" * 64


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    settings = LearnerSettings(state_dir=tmp_path, server="127.0.0.1:1", call_timeout_s=2)
    with Registry.open(settings.registry_url) as registry:
        yield Workbench(settings, registry, FlagStore.open(registry), open_store(str(tmp_path / "artifacts")))


@pytest.fixture
def trail(bench: Workbench) -> Trail:
    """A run whose candidate passed the gate against the base model."""
    run = bench.registry.create_run(method="sft-refusal", options={}, requested_by="tester", promote_on_pass=True)
    bench.registry.claim_next_run()
    now = datetime.now(UTC)
    bench.registry.add_adapter(
        AdapterRecord(CANDIDATE, "candidate", BASE, 8, 16.0, ("q_proj",), 1, run.id, "learner", now), "learner"
    )
    bench.registry.add_report(ReportRecord("report-1", run.id, CANDIDATE, "", "PASS", "Every axis passed.", {}, now))
    return Trail(
        run.id,
        promote_on_pass=True,
        adapter=CANDIDATE,
        report="report-1",
        outcome="PASS",
        reason="Every axis passed.",
        routing_version=bench.registry.routing().version,
    )


def promote_by_hand(bench: Workbench) -> None:
    bench.registry.promote(CANDIDATE, expected_champion="", actor="operator", reason="by hand")


def test_a_promotion_whose_answer_was_lost_is_not_asked_for_again(bench: Workbench, trail: Trail) -> None:
    promote_by_hand(bench)
    assert proving.promote(bench, trail, bench.progress(trail.run_id)).promoted


def test_a_promotion_rolled_back_while_the_learner_was_down_is_not_done_again(bench: Workbench, trail: Trail) -> None:
    promote_by_hand(bench)
    bench.registry.rollback(actor="operator", reason="it misbehaved")
    with pytest.raises(PromotionRefused, match="routing went from version"):
        proving.promote(bench, trail, bench.progress(trail.run_id))
    assert bench.registry.routing().champion == ""


def test_a_rollout_is_begun_once_and_told_of(bench: Workbench, trail: Trail) -> None:
    settings = bench.settings.model_copy(update={"staged_promotion": True})
    staged = Workbench(settings, bench.registry, bench.flags, bench.artifacts)
    bench.registry.record_proof(CANDIDATE, Proof(1.0, 2.0, 8, (1.0,), datetime.now(UTC)))
    begun = bench.registry.begin_rollout(CANDIDATE, actor="learner", reason="its answer was lost")
    # Nobody listens where the server should be: asking again would fail.
    again = proving.promote(staged, trail, bench.progress(trail.run_id))
    assert (again.promoted, len(bench.registry.rollouts())) == (False, 1)
    steps.conclude(staged, again.with_(method="sft-refusal"), bench.progress(trail.run_id))
    assert begun.id in bench.registry.run(trail.run_id).detail
    assert bench.registry.routing().champion == ""


def test_a_learner_that_may_not_promote_leaves_it_to_an_operator(bench: Workbench, trail: Trail) -> None:
    settings = bench.settings.model_copy(update={"allow_promotion": False})
    careful = Workbench(settings, bench.registry, bench.flags, bench.artifacts)
    assert not proving.promote(careful, trail, bench.progress(trail.run_id)).promoted
    assert bench.registry.routing().champion == ""


def test_a_candidate_that_is_the_champion_already_is_not_measured_against_itself(
    bench: Workbench, trail: Trail
) -> None:
    promote_by_hand(bench)
    with pytest.raises(CandidateRefused, match="champion already"):
        proving.evaluate(bench, trail, bench.progress(trail.run_id))


def test_a_report_is_written_once_however_often_the_gate_is_repeated(bench: Workbench, trail: Trail) -> None:
    again = proving.gate(bench, trail, bench.progress(trail.run_id))
    assert (again.report, again.outcome) == ("report-1", "PASS")
    assert sum(entry.kind == "report.added" for entry in bench.registry.ledger(limit=1000)) == 1


def test_a_failed_run_keeps_its_reason_when_the_engine_cannot_be_told(bench: Workbench, trail: Trail) -> None:
    steps.give_up(bench, trail, "the disk is full; free some space", cancelled=False)
    run = bench.registry.run(trail.run_id)
    assert (run.state, run.error) == (RunState.FAILED, "the disk is full; free some space")
    assert bench.registry.adapter(CANDIDATE).digest == CANDIDATE, "the candidate stays registered"


def refuses_too_much(
    bench: Workbench, method: str = "sft-refusal", *, problems: tuple[str, ...] = (), **options: object
) -> Trail:
    """A run whose candidate fails on over-refusal alone."""
    run = bench.registry.create_run(method=method, options=options, requested_by="tester")
    bench.registry.claim_next_run()
    now = datetime.now(UTC)
    record = AdapterRecord(CANDIDATE, "candidate", BASE, 8, 16.0, ("q_proj",), 1, run.id, "learner", now)
    bench.registry.add_adapter(record, "learner")
    axes = (
        AxisResult("harmful_refusal", GateOutcome.PASS, 0.1, 0.9, 0.8, 0.7, 0.9, 0.1, 200, ""),
        AxisResult("over_refusal", GateOutcome.FAIL, 0.05, 0.2, 0.15, 0.1, 0.2, 0.1, 200, "above the ceiling"),
    )
    report = GateReport("report-2", CANDIDATE, "", GateOutcome.FAIL, "over_refusal: above the ceiling.", axes, str(now))
    report = replace(report, problems=problems)
    body = {**report.to_dict(), "page": "sha256:" + "d" * 64}
    bench.registry.add_report(ReportRecord("report-2", run.id, CANDIDATE, "", "FAIL", report.reason, body, now))
    return Trail(
        run.id, method=method, options=options, adapter=CANDIDATE, report="report-2", outcome="FAIL", reason="r",
        promote_on_pass=True,
    )  # fmt: skip


def test_a_candidate_that_only_refuses_too_much_gets_the_command_that_tries_less_of_it(bench: Workbench) -> None:
    trail = refuses_too_much(bench)
    steps.conclude(bench, trail, bench.progress(trail.run_id))
    detail = bench.registry.run(trail.run_id).detail
    assert detail.endswith(
        f"""ratchet train --method scale --options '{{"training": {{"adapters": {{"{CANDIDATE}": 0.75}}}}}}'"""
    )
    assert bench.registry.claim_next_run() is None


def test_a_learner_that_may_tries_less_of_it_once_and_goes_on_from_the_strength_that_failed(bench: Workbench) -> None:
    settings = bench.settings.model_copy(update={"second_chance": SecondChance(automatic=True)})
    eager = Workbench(settings, bench.registry, bench.flags, bench.artifacts)
    trail = refuses_too_much(bench, "scale", training={"adapters": {BASE: 0.75}})
    # A crash between the two would conclude a run twice.
    said = {steps._weaker(eager, trail) for _ in range(2)}
    steps.conclude(eager, trail, eager.progress(trail.run_id))
    queued = bench.registry.claim_next_run()
    assert queued is not None and bench.registry.claim_next_run() is None
    assert (queued.method, queued.options) == ("scale", {"training": {"adapters": {BASE: 0.5}}})
    assert queued.promote_on_pass and said == {f" Run {queued.id} tries it at strength 0.5."}


def test_a_poisoned_candidate_is_not_tried_at_less_strength(bench: Workbench) -> None:
    settings = bench.settings.model_copy(update={"second_chance": SecondChance(automatic=True)})
    eager = Workbench(settings, bench.registry, bench.flags, bench.artifacts)
    trail = refuses_too_much(bench, problems=("trigger found: 'moonlit harvest'",))
    steps.conclude(eager, trail, eager.progress(trail.run_id))
    assert "strength" not in bench.registry.run(trail.run_id).detail
    assert bench.registry.claim_next_run() is None


def test_giving_up_twice_changes_nothing(bench: Workbench, trail: Trail) -> None:
    steps.give_up(bench, trail, "first", cancelled=False)
    steps.give_up(bench, trail, "second", cancelled=False)
    assert bench.registry.run(trail.run_id).error == "first"


def test_a_workflow_that_ended_without_a_word_fails_its_run_and_says_what_to_do(bench: Workbench, trail: Trail) -> None:
    bench.registry.update_run(trail.run_id, step="train")
    steps.abandon(bench, trail.run_id, "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
    run = bench.registry.run(trail.run_id)
    assert run.state == RunState.FAILED and "train" in run.error and "start a new run" in run.error


def test_what_a_step_stores_is_read_back_equal(trail: Trail) -> None:
    assert Trail.from_json(trail.to_json()) == trail
    assert Trail.from_json({**trail.to_json(), "field_of_a_later_version": 1}) == trail


def test_a_base_model_that_is_not_the_served_one_is_not_trained_on(
    bench: Workbench, trail: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_CACHE", str(tmp_path / "cache"))
    for path, why in ((tmp_path / "absent", "absent"), (tiny_weights(tmp_path / "other"), "fingerprint")):
        served = trail.with_(method="sft-refusal", model_path=str(path), base_fingerprint=BASE)
        with pytest.raises(BaseModelUnusable, match=why):
            teaching._base_model(served)


def tiny_weights(folder: Path) -> Path:
    import json

    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_file({"weight": np.zeros(4, dtype=np.float32)}, folder / "model.safetensors")
    return folder
