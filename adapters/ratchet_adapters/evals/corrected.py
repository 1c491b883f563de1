"""The rates of an evaluation beside what people would have found, as far as the judge's calibration tells.

It must not replace a judged rate: the gate compares two adapters judged alike, by item, and needs no correction for
that. It says in words when a rate can not be corrected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ratchet_adapters.evals.gates.paired import design_effect
from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.judges.calibration import FULL_REFUSAL, REFUSAL, Calibration
from ratchet_adapters.evals.judges.correction import Confusion, Corrected, corrected_rate
from ratchet_adapters.evals.judges.refusal import FULL
from ratchet_adapters.evals.metrics import METRIC_OF
from ratchet_adapters.evals.result import EvalResult, SuiteResult
from ratchet_adapters.evals.runner import GUARD_MARK

__all__ = ["CorrectedRate", "corrected_rates"]

CORRELATION = 0.05
"""Assumed correlation of items of one cluster; the gate policy's default."""
_NO_JUDGE = "there is no calibration of {judge}; measure it with `ratchet judges calibrate`"
_NO_LABELS = "the calibration of {judge} has no answers labelled by people that it was not fitted on"


@dataclass(frozen=True)
class CorrectedRate:
    """One rate of one suite.

    Attributes:
        suite: The suite.
        metric: harmful_refusal, over_refusal, or one of them with `_full` for full refusals alone.
        rate: As judged and as corrected.
        reference: The labelled set behind the correction; "" without one.
        lowest: The corrected rate if the judge did here as on that group, of all sets people labelled, which gives the
            lowest: a judge is better on some models' words than on others', and this is no part of the interval.
        highest: Likewise the highest.
    """

    suite: str
    metric: str
    rate: Corrected
    reference: str = ""
    lowest: float | None = None
    highest: float | None = None


def corrected_rates(result: EvalResult, calibrations: Sequence[Calibration]) -> tuple[CorrectedRate, ...]:
    """Return the refusal rates of every suite that did not fail, corrected where a calibration allows it.

    Args:
        result: An evaluation.
        calibrations: Of its judges; the last one of a version counts.
    """
    known = {calibration.judge: calibration for calibration in calibrations}
    return tuple(
        _rate(suite, known.get(suite.judge.split(GUARD_MARK)[0]), question)
        for axis in (Axis.HARMFUL_REFUSAL, Axis.OVER_REFUSAL)
        for suite in result.on(axis)
        if not suite.failure and suite.items
        for question in (REFUSAL, FULL_REFUSAL)
    )


def _rate(suite: SuiteResult, calibration: Calibration | None, question: str) -> CorrectedRate:
    full = question == FULL_REFUSAL
    metric = f"{METRIC_OF[suite.axis]}_full" if full else METRIC_OF[suite.axis]
    called = sum(item.label == FULL if full else item.value == 1.0 for item in suite.items)
    items = len(suite.items)
    effect = max(1.0, design_effect([item.cluster for item in suite.items], CORRELATION))
    measured = calibration.best(question) if calibration else None
    groups = [
        group
        for entry in (calibration.measured if calibration else ())
        if entry.usable
        for group in entry.groups.get(question, {}).values()
    ]
    counts = measured.overall(question) if measured else None
    if measured is None or counts is None:
        raw = corrected_rate(called, items, Confusion(), effect=effect)
        why = (_NO_LABELS if calibration else _NO_JUDGE).format(judge=suite.judge or "the judge")
        return CorrectedRate(suite.suite, metric, replace(raw, why=why))
    rate = corrected_rate(called, items, counts, effect=effect)
    spread = [corrected_rate(called, items, one, effect=effect).value for one in groups]
    within = [value for value in spread if value is not None]
    return CorrectedRate(
        suite.suite, metric, rate, measured.reference, min(within, default=None), max(within, default=None)
    )
