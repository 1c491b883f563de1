"""How often the gate is wrong, by axis, number of items and correlation within clusters.

    python tests/benchmarks/gate.py [--runs 2000] [--seed 1]

Each line draws candidates from a model and takes them through the functions the gate uses, with the shipped policy.
`size`: share of candidates exactly at the margin (for the target: no better than the champion) that pass the axis at
the level of a first decision; nominal is the policy's alpha. `power`: share that pass of candidates that are as good as
the champion (for the target: better by the gain shown). `shows`: the minimum detectable effect that the policy assumes
before anything is compared; the axis cannot pass on it alone when it exceeds the margin. Needs no model and no server.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ratchet_adapters.evals.gates.axes import share_p
from ratchet_adapters.evals.gates.paired import (
    binary_difference,
    design_effect,
    mcnemar_p,
    mean_difference,
    ratio_difference,
)
from ratchet_adapters.evals.gates.planning import detectable_difference
from ratchet_adapters.evals.gates.policy import GatePolicy

POLICY = GatePolicy.shipped()
SETS = {
    "harmful_refusal": ((20, 11), (60, 11), (220, 1)),
    "over_refusal": ((20, 6), (20, 12), (60, 12)),
    "incoherent": ((20, 12), (60, 12)),
    "cloze_accuracy": ((34, 5), (100, 5), (500, 1)),
    "toxicity_mean": ((20, 23), (60, 23)),
    "nll": ((14, 5), (60, 5)),
}
CORRELATIONS = (0.0, 0.05, 0.15)
GAIN = 0.10
"""How much better the candidate is for the target's power, in share of items."""


def shares(
    random: np.random.Generator, runs: int, clusters: int, each: int, worse: float, better: float, correlation: float
) -> npt.NDArray[np.int64]:
    """Return 1 where an item got worse, -1 where better; items copy their cluster's with chance sqrt(correlation)."""
    chances = [worse, better, 1 - worse - better]
    own = random.choice([1, -1, 0], size=(runs, clusters, each), p=chances)
    common = random.choice([1, -1, 0], size=(runs, clusters, 1), p=chances)
    copies = random.random((runs, clusters, each)) < math.sqrt(correlation)
    return np.where(copies, common, own).reshape(runs, clusters * each)


def passed_share(kinds: npt.NDArray[np.int64], names: list[str], margin: float, *, target: bool) -> bool:
    """Whether one drawn candidate passes a yes-or-no axis."""
    lost, won = (kinds == 1).tolist(), (kinds == -1).tolist()
    if target:
        p_value = mcnemar_p(sum(won), sum(lost))
    else:
        effect = design_effect(names, POLICY.cluster_correlation)
        found = binary_difference(lost, won, alpha=POLICY.alpha, power=POLICY.power, effect=effect, margin=margin)
        p_value = found.p_value or 0.0
    return share_p(lost, won, names, margin, p_value) <= POLICY.alpha


def share_rates(
    metric: str, clusters: int, each: int, correlation: float, runs: int, random: np.random.Generator
) -> tuple[float, float]:
    """Return size and power of an axis of yes and no."""
    target = metric == "harmful_refusal"
    margin, noise = {
        "harmful_refusal": (0.0, POLICY.harmful_refusal.discordant),
        "over_refusal": (POLICY.over_refusal.margin, POLICY.over_refusal.discordant),
        "incoherent": (POLICY.coherence.margin, POLICY.coherence.discordant),
        "cloze_accuracy": (POLICY.cloze.margin, POLICY.cloze.discordant),
    }[metric]
    names = [str(number // each) for number in range(clusters * each)]
    at_margin = shares(random, runs, clusters, each, margin + noise / 2, noise / 2, correlation)
    good = shares(random, runs, clusters, each, noise / 2, noise / 2 + (GAIN if target else 0.0), correlation)
    size, power = (sum(passed_share(one, names, margin, target=target) for one in many) for many in (at_margin, good))
    return size / runs, power / runs


def mean_rates(
    metric: str, clusters: int, each: int, correlation: float, runs: int, random: np.random.Generator
) -> tuple[float, float]:
    """Return size and power of an axis of means."""
    rule = POLICY.toxicity if metric == "toxicity_mean" else POLICY.nll
    names = [str(number // each) for number in range(clusters * each)]
    rates = []
    for shift in (rule.margin, 0.0):
        passed = 0
        for _ in range(runs):
            common = np.repeat(random.normal(0, 1, clusters), each) * math.sqrt(correlation)
            noise = common + random.normal(0, 1, clusters * each) * math.sqrt(1 - correlation)
            change = shift + rule.deviation * noise
            base = random.uniform(100, 400, clusters * each) if metric == "nll" else np.zeros(clusters * each)
            first = base * (1 + change) if metric == "nll" else change
            differ = ratio_difference if metric == "nll" else mean_difference
            found = differ(list(first), list(base), names, alpha=POLICY.alpha, power=POLICY.power, margin=rule.margin)
            passed += (found.p_value or 0.0) <= POLICY.alpha
        rates.append(passed / runs)
    return rates[0], rates[1]


def shown(metric: str, clusters: int, each: int) -> float:
    """Return the minimum detectable effect that the policy assumes of a set."""
    deviations = {
        "harmful_refusal": math.sqrt(POLICY.harmful_refusal.discordant),
        "over_refusal": math.sqrt(POLICY.over_refusal.discordant),
        "incoherent": math.sqrt(POLICY.coherence.discordant),
        "cloze_accuracy": math.sqrt(POLICY.cloze.discordant),
        "toxicity_mean": POLICY.toxicity.deviation,
        "nll": POLICY.nll.deviation,
    }
    names = [str(number // each) for number in range(clusters * each)]
    return detectable_difference(
        names,
        deviation=deviations[metric],
        correlation=POLICY.cluster_correlation,
        alpha=POLICY.alpha,
        power=POLICY.power,
    )


def lines(runs: int, seed: int) -> Iterator[str]:
    """Yield the table, line by line."""
    yield f"{runs} candidates a figure, nominal size {POLICY.alpha:g}"
    yield f"{'axis':16} {'items':>6} {'clusters':>8} {'shows':>7} {'corr.':>6} {'size':>7} {'power':>7}"
    random = np.random.default_rng(seed)
    for metric, sets in SETS.items():
        rates = mean_rates if metric in ("toxicity_mean", "nll") else share_rates
        for clusters, each in sets:
            for correlation in CORRELATIONS if each > 1 else (0.0,):
                size, power = rates(metric, clusters, each, correlation, runs, random)
                yield (
                    f"{metric:16} {clusters * each:6} {clusters:8} {shown(metric, clusters, each):7.2%} "
                    f"{correlation:6.2f} {size:7.3f} {power:7.3f}"
                )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Size and power of the gate, axis by axis.")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for line in lines(options.runs, options.seed):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
