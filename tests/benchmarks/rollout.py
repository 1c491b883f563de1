"""How soon a bad canary is found, and how often a good one is taken back: always-valid test against fixed thresholds.

Simulated traffic, one metric (refusal of benign prompts), a canary of 10 %. The fixed thresholds are those of a plain
progressive-delivery analysis, as Flagger does it: once per interval the canary's rate of that interval alone is held
against a fixed ceiling, and so many failed intervals, whether in a row or not, take it back.

    python tests/benchmarks/rollout.py [--runs 2000] [--out bench-report/rollout]
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ratchet_adapters.registry import METRICS, PAIRED_METRICS, RolloutPlan
from ratchet_adapters.rollouts import sequential

REQUESTS = 20_000
INTERVAL = 500  # requests between two looks of either: with 10 %, about 50 of the canary
SHARE = 0.10
PLAN = RolloutPlan()
LEVEL = float(np.log(len(PLAN.steps) * len(METRICS) / PLAN.alpha))
Counts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Rule = Callable[[Counts], np.ndarray]


def traffic(
    chance: np.random.Generator, runs: int, base: float, worse_by: float, *, drift: float = 0.0, tenants: int = 0
) -> Counts:
    """Cumulative (trials, events) of control and candidate at each look: runs x looks.

    Args:
        chance: Random numbers.
        runs: How many.
        base: Rate of the control.
        worse_by: What the candidate adds to it.
        drift: What the rate of both arms has gained at the end, as harder traffic comes in.
        tenants: If over 0, so many tenants with rates of their own (a Beta distribution with that mean), each whole
            tenant on one arm: a request is then no independent trial.
    """
    looks = REQUESTS // INTERVAL
    rate = base + drift * np.linspace(0, 1, looks)[None, :] + np.zeros((runs, 1))
    if not tenants:
        m = chance.binomial(INTERVAL, SHARE, (runs, looks))
        n = INTERVAL - m
        t, s = chance.binomial(m, np.minimum(rate + worse_by, 1)), chance.binomial(n, rate)
        return tuple(np.cumsum(x, axis=1) for x in (n, s, m, t))  # type: ignore[return-value]
    found = np.zeros((4, runs, looks), dtype=np.int64)
    own = chance.beta(base * 20, (1 - base) * 20, (runs, tenants))
    on_canary = chance.random((runs, tenants)) < SHARE
    for k in range(tenants):
        size = INTERVAL // tenants
        bad = chance.binomial(size, np.minimum(own[:, k] + worse_by * on_canary[:, k], 1)[:, None], (runs, looks))
        mine = on_canary[:, k][:, None]
        found += np.stack([~mine * size + 0 * bad, ~mine * bad, mine * size + 0 * bad, mine * bad])
    return tuple(np.cumsum(x, axis=1) for x in found)  # type: ignore[return-value]


def shadow_alarms(chance: np.random.Generator, runs: int, base: float, worse_by: float) -> np.ndarray:
    """Whether shadow pairs have sounded the alarm by each look; one text in two decides about both arms alike."""
    size = int(INTERVAL * PLAN.steps[0].share_bp / 10_000)
    rate = base + worse_by
    only = [0.5 * max(0.0, a - b) + 0.5 * a * (1 - b) for a, b in ((rate, base), (base, rate))]
    drawn = chance.multinomial(size, [*only, 1 - sum(only)], (runs, REQUESTS // INTERVAL)).cumsum(axis=1)
    found = sequential.paired_worse(drawn.sum(axis=2), drawn[..., 0], drawn[..., 1])
    level = np.log(len(PLAN.steps) * len(PAIRED_METRICS) / PLAN.alpha)
    return np.maximum.accumulate(found >= level, axis=1)


def tenant_trials(chance: np.random.Generator, runs: int, base: float, worse_by: float, tenants: int) -> Counts:
    """Cumulative (trials, events) after each new tenant, whose first request is all that counts: runs x tenants.

    Tenants have rates of their own, as in `traffic`; each is on one arm.
    """
    own = chance.beta(base * 20, (1 - base) * 20, (runs, tenants))
    on_canary = chance.random((runs, tenants)) < SHARE
    bad = chance.random((runs, tenants)) < np.minimum(own + worse_by * on_canary, 1)
    found = (~on_canary, ~on_canary & bad, on_canary, on_canary & bad)
    return tuple(np.cumsum(x, axis=1) for x in found)  # type: ignore[return-value]


def always_valid(counts: Counts) -> np.ndarray:
    """Whether it has sounded its alarm by each look, at the level one metric of the default plan has."""
    n, s, m, t = counts
    return np.maximum.accumulate(sequential.worse((n, s), (m, t)) >= LEVEL, axis=1)


def fixed(ceiling: float, failures: int) -> Rule:
    """As many intervals over a ceiling on the canary's own rate."""

    def rule(counts: Counts) -> np.ndarray:
        _, _, m, t = counts
        m, t = (np.diff(x, axis=1, prepend=0) for x in (m, t))
        return np.cumsum(t / np.maximum(m, 1) > ceiling, axis=1) >= failures

    return rule


def peeking(counts: Counts) -> np.ndarray:
    """A two-proportion z-test at the same alpha at each look, as if it were the only one."""
    n, s, m, t = counts
    pooled = (s + t) / (n + m)
    error = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / np.maximum(n, 1) + 1 / np.maximum(m, 1)))
    z = (t / np.maximum(m, 1) - s / np.maximum(n, 1)) / error
    return np.maximum.accumulate((z > 1.645) & (m >= 30), axis=1)


RULES: dict[str, Rule] = {
    "always-valid": always_valid,
    "fixed: rate > 10 %, 5 failures": fixed(0.10, 5),
    "fixed: rate > 15 %, 5 failures": fixed(0.15, 5),
    "fixed: rate > 10 %, 1 failure": fixed(0.10, 1),
    "z-test at every look": peeking,
}


def say(line: str) -> None:
    """Print a line as soon as it is known."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Simulate, print the tables, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("bench-report/rollout"))
    args = parser.parse_args()
    chance = np.random.default_rng(20260101)
    quiet = {
        "equal, base 2 %": {"base": 0.02},
        "equal, base 5 %": {"base": 0.05},
        "equal, base 10 %": {"base": 0.10},
        "equal, 5 % drifting to 15 %": {"base": 0.05, "drift": 0.10},
        "equal, 5 %, 100 tenants dealt out whole, by requests": {"base": 0.05, "tenants": 100},
        "equal, 5 %, 10 tenants dealt out whole, by requests": {"base": 0.05, "tenants": 10},
    }
    say(f"{args.runs} runs of {REQUESTS} requests, canary {SHARE:.0%}, a look every {INTERVAL} requests")
    say(f"always-valid: e-value of {np.exp(LEVEL):.0f} (alpha {PLAN.alpha} over steps and metrics)\n")
    say("False alarms within the run (share of runs):")
    header = "".join(f" | {name}" for name in RULES)
    say(f"| traffic{header} |\n|---{'|---' * len(RULES)}|")
    for name, how in quiet.items():
        counts = traffic(chance, args.runs, worse_by=0.0, **how)  # type: ignore[arg-type]
        say(f"| {name}" + "".join(f" | {rule(counts)[:, -1].mean():.3f}" for rule in RULES.values()) + " |")
    say("\nWhole tenants dealt out: rolled back by each tenant's first request; canary ended early by all requests:")
    say("| tenants | worse by | rolled back | ended early without a judgement |\n|---|---|---|---|")
    for number, shift in itertools.product((10, 100, 1000, 5000), (0.0, 0.1, 0.3)):
        back = always_valid(tenant_trials(chance, args.runs, 0.05, shift, number))[:, -1].mean()
        early = "-"
        if number <= INTERVAL:
            requests = traffic(chance, args.runs, base=0.05, worse_by=shift, tenants=number)
            early = f"{always_valid(requests)[:, -1].mean():.3f}"
        say(f"| {number} | {shift:.0%} points | {back:.4f} | {early} |")
    say("\nRequests in all until the alarm, median (90th percentile); share of runs that sounded it:")
    say(f"| base 5 %, candidate worse by{header} |\n|---{'|---' * len(RULES)}|")
    shifts = (0.02, 0.03, 0.05, 0.08, 0.10, 0.15, 0.20, 0.30)
    medians: dict[str, list[float]] = {name: [] for name in RULES}
    for shift in shifts:
        counts = traffic(chance, args.runs, base=0.05, worse_by=shift)
        cells = []
        for name, rule in RULES.items():
            alarms = rule(counts)
            first = np.where(alarms[:, -1], (alarms.argmax(axis=1) + 1) * INTERVAL, np.inf)
            median, late = np.quantile(first, (0.5, 0.9), method="higher")
            medians[name].append(float(median))
            cells.append(f" | {_number(median)} ({_number(late)}); {alarms[:, -1].mean():.2f}")
        say(f"| {shift:.0%} points{''.join(cells)} |")
    share = PLAN.steps[0].share_bp / 10_000
    say(f"\nShadow of {share:.0%}, base 5 %: requests in all until the alarm; share of runs that sounded it:")
    for shift in (0.0, *shifts):
        alarms = shadow_alarms(chance, args.runs, 0.05, shift)
        first = np.where(alarms[:, -1], (alarms.argmax(axis=1) + 1) * INTERVAL, np.inf)
        say(f"| {shift:.0%} points | {_number(float(np.median(first)))} | {alarms[:, -1].mean():.3f} |")
    _plot(shifts, medians, args.out)


def _number(value: float) -> str:
    return f"{value:.0f}" if np.isfinite(value) else "never"


def _plot(shifts: tuple[float, ...], medians: dict[str, list[float]], out: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, values in medians.items():
        found = [value if np.isfinite(value) else np.nan for value in values]
        axes.plot([100 * shift for shift in shifts], found, marker="o", label=name)
    axes.set(
        xlabel="candidate worse by, percentage points (base 5 %)",
        ylabel=f"requests in all until the alarm, median (of {REQUESTS})",
        yscale="log",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "delay.svg"
    figure.savefig(path)
    say(f"\nplot: {path}")


if __name__ == "__main__":
    main()
