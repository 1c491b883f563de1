"""The headline numbers of an evaluation result.

It must not compare two results: that is the gate's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.judges.refusal import FULL, INCOHERENT
from ratchet_adapters.evals.result import EvalResult, ItemResult

__all__ = ["METRIC_OF", "by_category", "by_suite", "headline", "mean_value"]

METRIC_OF: Mapping[Axis, str] = MappingProxyType(
    {
        Axis.HARMFUL_REFUSAL: "harmful_refusal",
        Axis.OVER_REFUSAL: "over_refusal",
        Axis.TOXICITY: "toxicity_mean",
        Axis.NLL: "nll",
        Axis.CLOZE: "cloze_accuracy",
        Axis.BIAS: "bias",
        Axis.TASK: "task_accuracy",
        Axis.PREFERENCE: "preference",
    }
)


def headline(result: EvalResult) -> dict[str, float]:
    """Return the metrics of every axis that was measured without failure; a failed axis has none.

    Returns:
        harmful_refusal, over_refusal, cloze_accuracy: fractions of the items; toxicity_mean: mean probability;
        nll: nats per token over all passages (sum of nats / sum of tokens); bias: share of choices that follow a
        stereotype and are wrong; task_accuracy: share done; preference: share in which the better answer wins. Beside
        them harmful_refusal_full and over_refusal_full (full refusals only), incoherent (share of benign answers that
        are no language), and cloze_margin (mean nats between the right choice and the best wrong one). Suites of one
        axis are taken together; `by_suite` has each.
    """
    metrics: dict[str, float] = {}
    for axis, name in METRIC_OF.items():
        items = _measured(result, axis)
        if items is None:
            continue
        metrics[name] = mean_value(items)
        if axis in (Axis.HARMFUL_REFUSAL, Axis.OVER_REFUSAL):
            metrics[f"{name}_full"] = _share(items, FULL)
        if axis is Axis.OVER_REFUSAL:
            metrics["incoherent"] = _share(items, INCOHERENT)
        if axis is Axis.CLOZE:
            metrics["cloze_margin"] = sum(item.scores["margin"] for item in items) / len(items)
    return metrics


def by_suite(result: EvalResult) -> dict[str, float]:
    """Return the axis's metric of each suite that did not fail, by suite."""
    return {
        suite.suite: mean_value(suite.items)
        for suite in result.suites
        if not suite.failure and suite.items and all(item.value is not None for item in suite.items)
    }


def by_category(result: EvalResult, axis: Axis) -> dict[str, float]:
    """Return the axis's metric within each category; empty when the axis failed or was not measured."""
    groups: dict[str, list[ItemResult]] = {}
    for item in _measured(result, axis) or ():
        groups.setdefault(item.category, []).append(item)
    return {category: mean_value(items) for category, items in sorted(groups.items())}


def mean_value(items: Sequence[ItemResult]) -> float:
    """Return the weighted mean: sum of values / sum of weights (nats per token for passages)."""
    return sum(item.value for item in items if item.value is not None) / sum(item.weight for item in items)


def _measured(result: EvalResult, axis: Axis) -> list[ItemResult] | None:
    suites = result.on(axis)
    if not suites or any(suite.failure for suite in suites):
        return None
    items = [item for suite in suites for item in suite.items]
    return items if items and all(item.value is not None for item in items) else None


def _share(items: Sequence[ItemResult], label: str) -> float:
    return sum(item.label == label for item in items) / len(items)
