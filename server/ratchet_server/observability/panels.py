"""What the Grafana dashboard shows: the queries, titles and marks, as plain data.

It must not know Grafana's JSON; `dashboard.py` turns this into it. Only metrics declared in `families.py` may be named.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ANNOTATIONS", "CHANGE", "ROLLOUTS", "SAFETY", "TRAFFIC", "Annotation", "Panel", "Query"]

_BY = 'adapter=~"$adapter",profile=~"$profile"'
_RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Query:
    """One PromQL expression and the name of its series."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One time series panel. `unit` is a Grafana unit id, `span` a width out of 24."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    span: int = 12
    most: float | None = None
    stacked: bool = False


@dataclass(frozen=True)
class Annotation:
    """Marks on every panel, one for each distinct time (Unix milliseconds) that the expression has as its value."""

    name: str
    expr: str
    colour: str
    title: str


ANNOTATIONS = (
    Annotation(
        "Promotions", "max by (adapter) (ratchet_champion_since_timestamp_seconds) * 1000", "green",
        "Champion is now {{adapter}}",
    ),
    Annotation(
        "Rollbacks", 'max(ratchet_last_swap_timestamp_seconds{kind="rollback"}) * 1000', "red", "Rolled back",
    ),
)  # fmt: skip


def _quantiles(metric: str) -> tuple[Query, ...]:
    buckets = f"sum by (le, adapter) (rate({metric}_bucket{{{_BY}}}{_RATE}))"
    return tuple(
        Query(f"histogram_quantile({quantile}, {buckets})", f"{{{{adapter}}}} p{round(quantile * 100)}")
        for quantile in (0.5, 0.95)
    )


def _ratio(part: str, whole: str) -> str:
    return f"sum by (adapter) (rate({part}{{{_BY}}}{_RATE})) / (sum by (adapter) (rate({whole}{{{_BY}}}{_RATE})) > 0)"


SAFETY = (
    Panel(
        "Refusal rate by adapter",
        "Refusing share of the completions that the refusal scorer judged. Harmful and benign prompts together: "
        "read it beside the flags.",
        "percentunit",
        (Query(_ratio("ratchet_refusals_total", "ratchet_completions_judged_total"), "{{adapter}}"),),
        most=1,
    ),
    Panel(
        "Toxicity by adapter",
        "Mean and 95th percentile of the toxicity of completions.",
        "percentunit",
        (
            Query(_ratio("ratchet_toxicity_sum", "ratchet_toxicity_count"), "{{adapter}} mean"),
            _quantiles("ratchet_toxicity")[1],
        ),
        most=1,
    ),
    Panel(
        "Rail verdicts",
        "Verdicts per second that are not allow. A failed verdict is a rail that could not judge.",
        "ops",
        (
            Query(
                'sum by (rail, direction, outcome) (rate(ratchet_rail_verdicts_total{outcome!="allow",'
                f'profile=~"$profile"}}{_RATE}))',
                "{{rail}} {{direction}} {{outcome}}",
            ),
        ),
    ),
    Panel(
        "Rail time p95",
        "Time a rail takes for a verdict.",
        "s",
        (
            Query(
                "histogram_quantile(0.95, sum by (le, rail, direction) "
                f'(rate(ratchet_rail_duration_seconds_bucket{{profile=~"$profile"}}{_RATE})))',
                "{{rail}} {{direction}}",
            ),
        ),
    ),
)

TRAFFIC = (
    Panel(
        "Requests by how they ended",
        "Ended requests per second.",
        "reqps",
        (Query(f"sum by (finish_reason) (rate(ratchet_requests_total{{{_BY}}}{_RATE}))", "{{finish_reason}}"),),
        span=8,
        stacked=True,
    ),
    Panel(
        "Requests by adapter",
        "Ended requests per second, and those in flight. After a promotion the old adapter drains.",
        "short",
        (
            Query(f"sum by (adapter) (rate(ratchet_requests_total{{{_BY}}}{_RATE}))", "{{adapter}} per second"),
            Query(f"sum by (adapter) (ratchet_requests_in_flight{{{_BY}}})", "{{adapter}} in flight"),
        ),
        span=8,
    ),
    Panel(
        "Errors by code",
        "Failed requests per second, by gRPC status code.",
        "reqps",
        (Query(f"sum by (code) (rate(ratchet_request_errors_total{{{_BY}}}{_RATE}))", "{{code}}"),),
        span=8,
    ),
    Panel(
        "Tokens",
        "Tokens of finished requests, per second.",
        "short",
        (Query(f"sum by (kind) (rate(ratchet_tokens_total{{{_BY}}}{_RATE}))", "{{kind}}"),),
        span=8,
        stacked=True,
    ),
    Panel(
        "Time to first token",
        "Until the client could read the first text, hold-back of the output rails included.",
        "s",
        _quantiles("ratchet_time_to_first_token_seconds"),
        span=8,
    ),
    Panel(
        "Inter-token latency",
        "Between two tokens of one answer.",
        "s",
        _quantiles("ratchet_inter_token_latency_seconds"),
        span=8,
    ),
)

CHANGE = (
    Panel(
        "Swaps",
        "Promotions and rollbacks within the step, each counted by the server that decided it.",
        "short",
        (Query("sum by (kind) (increase(ratchet_swaps_total[$__rate_interval]))", "{{kind}}"),),
        span=8,
    ),
    Panel(
        "Swap time p95",
        "From the call to the new champion routing every new request, over an hour.",
        "s",
        (Query("histogram_quantile(0.95, sum by (le, kind) (rate(ratchet_swap_seconds_bucket[1h])))", "{{kind}}"),),
        span=8,
    ),
    Panel(
        "Proofs and loads",
        "Efficacy proofs by outcome, and adapter loads by outcome, over an hour.",
        "short",
        (
            Query("sum by (outcome) (increase(ratchet_proofs_total[1h]))", "proof {{outcome}}"),
            Query("sum by (outcome) (increase(ratchet_adapter_loads_total[1h]))", "load {{outcome}}"),
        ),
        span=8,
    ),
    Panel(
        "Gate results",
        "Gate reports over 6 hours.",
        "short",
        (Query("max by (outcome) (increase(ratchet_gate_results_total[6h]))", "{{outcome}}"),),
        span=8,
        stacked=True,
    ),
    Panel(
        "Runs and their steps",
        "Ended runs over 6 hours, and the mean time of a step.",
        "short",
        (
            Query("max by (method, state) (increase(ratchet_runs_total[6h]))", "{{method}} {{state}}"),
            Query(
                "sum by (step) (rate(ratchet_run_step_seconds_sum[6h])) "
                "/ (sum by (step) (rate(ratchet_run_step_seconds_count[6h])) > 0)",
                "{{step}} seconds",
            ),
        ),
        span=8,
    ),
    Panel(
        "Flags",
        "Flags stored over an hour, by kind and source.",
        "short",
        (Query("sum by (kind, source) (increase(ratchet_flags_total[1h]))", "{{kind}} by {{source}}"),),
        span=8,
        stacked=True,
    ),
)

ROLLOUTS = (
    Panel(
        "Rollout under way",
        "1 for the candidate's present step. Every server says the same.",
        "short",
        (Query("max by (adapter, stage) (ratchet_rollout_stage)", "{{adapter}} {{stage}}"),),
        span=8,
        most=1,
    ),
    Panel(
        "Evidence of the step",
        "Log evidence over the level that decides. At 1, worse rolls the candidate back and within shows the margin.",
        "short",
        (Query("max by (metric, claim) (ratchet_rollout_evidence_ratio)", "{{metric}} {{claim}}"),),
        span=8,
        most=1,
    ),
    Panel(
        "Answers and failures per arm",
        "Of requests dealt out in a rollout, per second.",
        "reqps",
        (
            Query(f"sum by (arm) (rate(ratchet_rollout_answers_total{_RATE}))", "{{arm}} answered"),
            Query(f"sum by (arm) (rate(ratchet_rollout_failures_total{_RATE}))", "{{arm}} failed"),
        ),
        span=8,
    ),
    Panel(
        "Shadow answers",
        "Made, left out because too many waited, or failed, per second.",
        "reqps",
        (Query(f"sum by (outcome) (rate(ratchet_rollout_shadow_answers_total{_RATE}))", "{{outcome}}"),),
        span=12,
        stacked=True,
    ),
    Panel(
        "Rollouts ended",
        "Over a day, by outcome.",
        "short",
        (Query("max by (outcome) (increase(ratchet_rollouts_ended_total[24h]))", "{{outcome}}"),),
        span=12,
        stacked=True,
    ),
)
