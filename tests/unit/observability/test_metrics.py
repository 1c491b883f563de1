"""What each report changes in the registry."""

from __future__ import annotations

import math
import threading

import pytest
from prometheus_client import CollectorRegistry

from ratchet_server.observability.metrics import Metrics

A, B, C = ("sha256:" + digit * 64 for digit in "abc")
SHORT_A, SHORT_B, SHORT_C = ("a" * 12, "b" * 12, "c" * 12)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def finish(metrics: Metrics, adapter: str = "", **changes: object) -> None:
    report: dict[str, object] = {
        "adapter": adapter, "profile": "p", "finish_reason": "STOP", "prompt_tokens": 5, "completion_tokens": 7,
        "total_s": 1.0, "ttft_s": 0.2, "inter_token_s": 0.05, "toxicity": 0.3, "refused": True, **changes,
    }  # fmt: skip
    metrics.request_finished(**report)  # type: ignore[arg-type]


def test_a_finished_request_is_counted_with_its_tokens_times_and_scores(metrics: Metrics) -> None:
    metrics.request_started(A, "p")
    assert value(metrics, "ratchet_requests_in_flight", adapter=SHORT_A, profile="p") == 1
    finish(metrics, A, inter_token_s=[0.1, 0.2, 0.3])
    by = {"adapter": SHORT_A, "profile": "p"}
    assert value(metrics, "ratchet_requests_in_flight", **by) == 0
    assert value(metrics, "ratchet_requests_total", finish_reason="stop", **by) == 1
    assert value(metrics, "ratchet_tokens_total", kind="prompt", **by) == 5
    assert value(metrics, "ratchet_tokens_total", kind="completion", **by) == 7
    assert value(metrics, "ratchet_time_to_first_token_seconds_sum", **by) == 0.2
    assert value(metrics, "ratchet_inter_token_latency_seconds_count", **by) == 3
    assert value(metrics, "ratchet_toxicity_sum", **by) == 0.3
    assert value(metrics, "ratchet_refusals_total", **by) == 1


def test_an_unjudged_completion_leaves_the_refusal_rate_and_toxicity_alone(metrics: Metrics) -> None:
    finish(metrics, toxicity=None, refused=None, ttft_s=None, inter_token_s=None)
    by = {"adapter": "base", "profile": "p"}
    assert value(metrics, "ratchet_requests_total", finish_reason="stop", **by) == 1
    assert not value(metrics, "ratchet_completions_judged_total", **by)
    assert not value(metrics, "ratchet_toxicity_count", **by)
    assert not value(metrics, "ratchet_time_to_first_token_seconds_count", **by)


def test_an_answer_that_complies_is_judged_and_the_refusal_counter_is_there_at_zero(metrics: Metrics) -> None:
    finish(metrics, refused=False)
    assert value(metrics, "ratchet_completions_judged_total", adapter="base", profile="p") == 1
    assert value(metrics, "ratchet_refusals_total", adapter="base", profile="p") == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.5])
def test_a_score_out_of_range_is_rejected_in_the_open_and_poisons_no_sum(metrics: Metrics, bad: float) -> None:
    finish(metrics, toxicity=bad)
    assert value(metrics, "ratchet_toxicity_count", adapter="base", profile="p") == 0
    assert value(metrics, "ratchet_measurements_rejected_total", measurement="toxicity") == 1
    assert value(metrics, "ratchet_requests_total", adapter="base", profile="p", finish_reason="stop") == 1


def test_a_failed_request_leaves_the_gauge_and_one_never_started_does_not_touch_it(metrics: Metrics) -> None:
    metrics.request_started("", "p")
    metrics.request_failed("", "p", "UNAUTHENTICATED", started=False)
    assert value(metrics, "ratchet_requests_in_flight", adapter="base", profile="p") == 1
    metrics.request_failed("base", "p", "UNAVAILABLE")
    assert value(metrics, "ratchet_requests_in_flight", adapter="base", profile="p") == 0
    assert value(metrics, "ratchet_request_errors_total", adapter="base", profile="p", code="UNAVAILABLE") == 1


def test_names_a_client_makes_up_get_no_series_of_their_own(metrics: Metrics) -> None:
    for number in range(50):
        metrics.request_failed(f"sha256:{number:064x}", f"profile-{number}", "NOT_FOUND", started=False)
    errors = value(metrics, "ratchet_request_errors_total", adapter="other", profile="other", code="NOT_FOUND")
    assert errors == 50


def test_the_oldest_adapter_loses_its_series_and_its_open_requests_move_to_other() -> None:
    metrics = Metrics(CollectorRegistry(), max_adapters=2)
    metrics.request_started(A, "p")
    finish(metrics, A)
    metrics.request_started(A, "p")
    for adapter in (B, C):
        finish(metrics, adapter)
    assert value(metrics, "ratchet_requests_total", adapter=SHORT_A, profile="p", finish_reason="stop") is None
    assert value(metrics, "ratchet_toxicity_bucket", adapter=SHORT_A, profile="p", le="1.0") is None
    assert value(metrics, "ratchet_requests_in_flight", adapter="other", profile="p") == 1
    finish(metrics, A)
    assert value(metrics, "ratchet_requests_in_flight", adapter="other", profile="p") == 0
    assert value(metrics, "ratchet_requests_total", adapter="other", profile="p", finish_reason="stop") == 1


def test_the_champion_keeps_its_series_however_many_adapters_come_after_it() -> None:
    metrics = Metrics(CollectorRegistry(), max_adapters=2)
    metrics.champion(A)
    finish(metrics, A)
    for number in range(20):
        finish(metrics, f"sha256:{number:064x}".replace("0" * 12, f"{number:012x}", 1))
    assert value(metrics, "ratchet_requests_total", adapter=SHORT_A, profile="p", finish_reason="stop") == 1


def test_a_promotion_leaves_the_in_flight_gauges_in_place(metrics: Metrics) -> None:
    metrics.request_started("", "p")
    metrics.request_started(A, "p")
    finish(metrics, A)
    metrics.champion(B)
    assert value(metrics, "ratchet_requests_in_flight", adapter="base", profile="p") == 1
    assert value(metrics, "ratchet_requests_in_flight", adapter=SHORT_A, profile="p") == 0


def test_exactly_one_champion_is_shown_and_its_time_stays_when_it_is_named_again(metrics: Metrics) -> None:
    metrics.champion("", since=100.0)
    metrics.champion(A, since=200.0)
    metrics.champion(A)
    assert value(metrics, "ratchet_champion_info", adapter="base") is None
    assert value(metrics, "ratchet_champion_info", adapter=SHORT_A) == 1
    assert value(metrics, "ratchet_champion_since_timestamp_seconds", adapter=SHORT_A) == 200.0


def test_a_promotion_and_a_rollback_are_told_apart(metrics: Metrics) -> None:
    metrics.swap("promote", 0.01)
    metrics.swap("rollback", 0.01)
    metrics.swap("rollback", 0.01)
    assert value(metrics, "ratchet_promotions_total") == 1
    assert value(metrics, "ratchet_swaps_total", kind="rollback") == 2
    assert (value(metrics, "ratchet_last_swap_timestamp_seconds", kind="rollback") or 0) > 1.7e9


def test_every_outcome_of_a_rail_is_exposed_from_its_first_verdict_on(metrics: Metrics) -> None:
    metrics.rail_verdict(profile="p", rail="regex", direction="INPUT", outcome="ALLOW", seconds=0.001)
    labels = {"adapter": "none", "profile": "p", "rail": "regex", "direction": "input"}
    assert value(metrics, "ratchet_rail_verdicts_total", outcome="allow", **labels) == 1
    assert value(metrics, "ratchet_rail_verdicts_total", outcome="failed", **labels) == 0


@pytest.mark.parametrize("name", ["ratchet_proofs_total", "ratchet_gate_results_total"])
def test_counters_that_alerts_watch_begin_at_zero(metrics: Metrics, name: str) -> None:
    outcome = "mismatch" if name == "ratchet_proofs_total" else "fail"
    assert value(metrics, name, outcome=outcome) == 0


def test_a_process_without_an_engine_does_not_say_it_is_not_ready(metrics: Metrics) -> None:
    assert value(metrics, "ratchet_engine_ready") is None
    metrics.engine(running=0, waiting=3, ready=False)
    assert value(metrics, "ratchet_engine_ready") == 0
    assert value(metrics, "ratchet_engine_requests_waiting") == 3


def test_a_run_that_moved_after_its_predecessor_ended_counts_as_open(metrics: Metrics) -> None:
    metrics.run_step("m", "train", 3.0)
    assert value(metrics, "ratchet_run_end_timestamp_seconds", method="m") == 0
    metrics.run_ended("m", "FAILED")
    ended = value(metrics, "ratchet_run_end_timestamp_seconds", method="m")
    moved = value(metrics, "ratchet_run_progress_timestamp_seconds", method="m")
    assert ended is not None and moved is not None and ended >= moved
    assert value(metrics, "ratchet_runs_total", method="m", state="failed") == 1


def test_reports_from_many_threads_are_all_counted() -> None:
    metrics = Metrics(CollectorRegistry(), max_adapters=2)

    def work() -> None:
        for adapter in (A, B, C) * 30:
            metrics.request_started(adapter, "p")
            finish(metrics, adapter)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gauge = next(family for family in metrics.registry.collect() if family.name == "ratchet_requests_in_flight")
    assert all(sample.value == 0 for sample in gauge.samples)
    # A came first and loses its place to C for good; B and C keep theirs.
    for label in (SHORT_B, SHORT_C):
        assert value(metrics, "ratchet_requests_total", adapter=label, profile="p", finish_reason="stop") == 120
