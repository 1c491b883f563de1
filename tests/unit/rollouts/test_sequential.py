"""The sequential tests keep their error rates when looked at after every request, and see what is there."""

from __future__ import annotations

import numpy as np
import pytest

from ratchet_adapters.rollouts import sequential

ALPHA = 0.05
RUNS = 500
# By how much the share of runs may be over the level by chance alone: three standard errors.
SLACK = 3 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5


def arms(
    seed: int, control: float, candidate: float, *, requests: int = 1500, share: float = 0.1
) -> tuple[np.ndarray, ...]:
    """Cumulative (trials, events) of both arms after each request: runs x requests, dealt out at random."""
    chance = np.random.default_rng(seed)
    to_candidate = chance.random((RUNS, requests)) < share
    bad = chance.random((RUNS, requests)) < np.where(to_candidate, candidate, control)
    return tuple(np.cumsum(x, axis=1) for x in (~to_candidate, bad & ~to_candidate, to_candidate, bad & to_candidate))


def pairs(seed: int, control: float, candidate: float, *, requests: int = 1500) -> tuple[np.ndarray, ...]:
    """Cumulative (pairs, only the candidate, only the control) after each pair; one text decides about both half."""
    chance = np.random.default_rng(seed)
    shared, mine, other = (chance.random((RUNS, requests)) for _ in range(3))
    both = chance.random((RUNS, requests)) < 0.5
    a = np.where(both, shared, mine) < control
    b = np.where(both, shared, other) < candidate
    return np.cumsum(np.ones_like(a), axis=1), np.cumsum(b & ~a, axis=1), np.cumsum(a & ~b, axis=1)


def ever(log_evidence: np.ndarray, alpha: float = ALPHA) -> float:
    """Share of runs in which the evidence reached its level at any look."""
    return float((log_evidence >= np.log(1 / alpha)).any(axis=1).mean())


@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_equal_arms_sound_an_alarm_no_more_often_than_stated(rate: float) -> None:
    n, s, m, t = arms(1, rate, rate)
    assert ever(sequential.worse((n, s), (m, t))) <= ALPHA + SLACK
    assert ever(sequential.paired_worse(*pairs(2, rate, rate))) <= ALPHA + SLACK


@pytest.mark.parametrize("rate", [0.02, 0.2])
def test_a_candidate_at_its_margin_is_let_through_no_more_often_than_stated(rate: float) -> None:
    n, s, m, t = arms(3, rate, rate + 0.05, share=0.5)
    looks = slice(None, None, 25)
    found = sequential.within((n[:, looks], s[:, looks]), (m[:, looks], t[:, looks]), 0.05)
    assert ever(found) <= ALPHA + SLACK
    assert ever(sequential.paired_within(*pairs(4, rate, rate + 0.05), 0.05)) <= ALPHA + SLACK


def test_a_fixed_level_test_looked_at_after_every_request_does_not_keep_its_rate() -> None:
    """What the always-valid test is for: the same data, the usual two-proportion z-test."""
    n, s, m, t = arms(1, 0.2, 0.2)
    pooled = (s + t) / (n + m)
    error = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-9) * (1 / np.maximum(n, 1) + 1 / np.maximum(m, 1)))
    z = (t / np.maximum(m, 1) - s / np.maximum(n, 1)) / error
    enough = m >= 30
    assert float(((z > 1.645) & enough).any(axis=1).mean()) > 3 * ALPHA


def test_what_is_there_is_found() -> None:
    n, s, m, t = arms(5, 0.05, 0.30)
    assert ever(sequential.worse((n, s), (m, t)), 0.001) > 0.9
    assert ever(sequential.paired_worse(*pairs(6, 0.05, 0.15)), 0.001) > 0.9
    n, s, m, t = arms(7, 0.05, 0.05, share=0.5)
    looks = slice(None, None, 25)
    assert ever(sequential.within((n[:, looks], s[:, looks]), (m[:, looks], t[:, looks]), 0.08)) > 0.9
    assert ever(sequential.paired_within(*pairs(8, 0.05, 0.05), 0.08)) > 0.9


def test_no_traffic_is_no_evidence_of_anything() -> None:
    for log_evidence in (
        sequential.worse((0, 0), (0, 0)),
        sequential.worse((10_000, 100), (0, 0)),
        sequential.within((0, 0), (0, 0), 0.05),
        sequential.within((10_000, 0), (0, 0), 0.05),
        sequential.paired_worse(0, 0, 0),
        sequential.paired_within(0, 0, 0, 0.05),
    ):
        assert log_evidence <= 1e-6


def test_the_extremes_are_numbers() -> None:
    for control, candidate in (
        ((50, 0), (50, 50)),
        ((50, 50), (50, 0)),
        ((1, 1), (1, 1)),
        ((10**9, 10**8), (10**9, 10**8)),
    ):
        assert np.isfinite(sequential.worse(control, candidate))
        assert np.isfinite(sequential.within(control, candidate, 0.05))


def test_the_null_is_as_good_as_the_best_rate_on_a_fine_grid() -> None:
    """The bisection finds the largest likelihood on the boundary."""
    n, s, m, t, margin = 200, 30, 40, 5, 0.05
    rates = np.linspace(1e-6, 1 - margin - 1e-6, 200_001)
    loglik = s * np.log(rates) + (n - s) * np.log(1 - rates) + t * np.log(rates + margin)
    loglik += (m - t) * np.log(1 - rates - margin)
    at_margin = sequential.within((n, s), (m, t), margin)
    unbound = sequential.worse((n, s), (m, t))  # its null holds for these counts: both best rates are allowed
    best = s * np.log(s / n) + (n - s) * np.log(1 - s / n) + t * np.log(t / m) + (m - t) * np.log(1 - t / m)
    assert at_margin == pytest.approx(unbound + best - loglik.max(), abs=1e-6)


def test_tenants_dealt_out_whole_keep_the_rate_as_one_trial_each_and_not_request_by_request() -> None:
    """Two arms that are alike; 40 tenants, some of which refuse much by their own ways, each sends 50 requests."""
    chance, tenants, requests = np.random.default_rng(11), 40, 50
    own = chance.beta(0.5, 4.5, (RUNS, tenants))
    mine = chance.random((RUNS, tenants)) < 0.25
    first = chance.random((RUNS, tenants)) < own
    one = [np.cumsum(x, axis=1) for x in (~mine, first & ~mine, mine, first & mine)]
    assert ever(sequential.worse((one[0], one[1]), (one[2], one[3]))) <= ALPHA + SLACK
    bad = chance.binomial(requests, own)
    every = [np.cumsum(x, axis=1) for x in (~mine * requests, bad * ~mine, mine * requests, bad * mine)]
    assert ever(sequential.worse((every[0], every[1]), (every[2], every[3]))) > 4 * ALPHA
