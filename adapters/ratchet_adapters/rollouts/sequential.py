"""Always-valid tests of two arms: they may be looked at after every request, for ever, and keep their error rate.

Each function returns the logarithm of an e-process: under its null hypothesis its chance of ever reaching log(1/alpha)
is at most alpha (Ville 1939). All depend on sums alone, so nothing has to be remembered between two looks.

* Two arms that answer different requests: Robbins' mixture over both rates, over the largest likelihood that the null
  hypothesis allows (Robbins 1970; Wasserman, Ramdas & Balakrishnan 2020, "Universal inference", section 8).
* Two arms that answer the same requests: a mixture of bets on the difference of each pair, which is in [-1, 1]
  (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", section 4).

It must not know what an event is. Arguments are counts or arrays of counts of one shape.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, logsumexp, xlogy

__all__ = ["paired_within", "paired_worse", "within", "worse"]

Floats = NDArray[np.float64]

# Bets as fractions of the largest that cannot lose everything at once: small ones for small differences.
_BETS = 0.9 * 2.0 ** -np.arange(10)
_HALVINGS = 60


def worse(control: tuple[ArrayLike, ArrayLike], candidate: tuple[ArrayLike, ArrayLike]) -> Floats:
    """Return log evidence that the candidate's rate is over the control's.

    Args:
        control: (trials, events).
        candidate: (trials, events).
    """
    n, s = _counts(control)
    m, t = _counts(candidate)
    pooled = (s + t) / np.maximum(n + m, 1)
    null = np.where(_rate(t, m) > _rate(s, n), _loglik(s + t, n + m, pooled), _best(s, n) + _best(t, m))
    evidence: Floats = _mixture(s, n) + _mixture(t, m) - null
    return evidence


def within(control: tuple[ArrayLike, ArrayLike], candidate: tuple[ArrayLike, ArrayLike], margin: float) -> Floats:
    """Return log evidence that the candidate's rate is under the control's plus a margin in (0, 1)."""
    n, s = _counts(control)
    m, t = _counts(candidate)
    # On the boundary the likelihood is concave in the control's rate: its slope falls through zero once.
    low, high = np.zeros(np.broadcast(n, m).shape), np.full(np.broadcast(n, m).shape, 1.0 - margin)
    for _ in range(_HALVINGS):
        rate = (low + high) / 2
        slope = _slope(s, n, rate) + _slope(t, m, rate + margin)
        low, high = np.where(slope > 0, rate, low), np.where(slope > 0, high, rate)
    rate = (low + high) / 2
    edge = _loglik(s, n, rate) + _loglik(t, m, rate + margin)
    null = np.where(_rate(t, m) - _rate(s, n) < margin, edge, _best(s, n) + _best(t, m))
    evidence: Floats = _mixture(s, n) + _mixture(t, m) - null
    return evidence


def paired_worse(pairs: ArrayLike, only_candidate: ArrayLike, only_control: ArrayLike) -> Floats:
    """Return log evidence that the event is likelier for the candidate, from pairs of answers to one request.

    Args:
        pairs: All pairs.
        only_candidate: Pairs in which it happened to the candidate only.
        only_control: Pairs in which it happened to the control only.
    """
    w, b = (np.asarray(x, dtype=float)[..., None] for x in (only_candidate, only_control))
    return _average(w * np.log1p(_BETS) + b * np.log1p(-_BETS)) + 0.0 * np.asarray(pairs, dtype=float)


def paired_within(pairs: ArrayLike, only_candidate: ArrayLike, only_control: ArrayLike, margin: float) -> Floats:
    """Return log evidence that the event is likelier for the candidate by less than a margin in (0, 1)."""
    n, w, b = (np.asarray(x, dtype=float)[..., None] for x in (pairs, only_candidate, only_control))
    bets = _BETS / (1 - margin)
    gains = w * np.log1p(-bets * (1 - margin)) + b * np.log1p(bets * (1 + margin))
    return _average(gains + (n - w - b) * np.log1p(bets * margin))


def _counts(arm: tuple[ArrayLike, ArrayLike]) -> tuple[Floats, Floats]:
    return np.asarray(arm[0], dtype=float), np.asarray(arm[1], dtype=float)


def _rate(events: Floats, trials: Floats) -> Floats:
    result: Floats = events / np.maximum(trials, 1)
    return result


def _loglik(events: Floats, trials: Floats, rate: Floats) -> Floats:
    result: Floats = xlogy(events, rate) + xlogy(trials - events, 1 - rate)
    return result


def _best(events: Floats, trials: Floats) -> Floats:
    return _loglik(events, trials, _rate(events, trials))


def _slope(events: Floats, trials: Floats, rate: Floats) -> Floats:
    inside = np.clip(rate, 1e-12, 1 - 1e-12)
    result: Floats = events / inside - (trials - events) / (1 - inside)
    return result


def _mixture(events: Floats, trials: Floats) -> Floats:
    """Log of the likelihood averaged over Jeffreys' prior on the rate."""
    result: Floats = betaln(events + 0.5, trials - events + 0.5) - betaln(0.5, 0.5)
    return result


def _average(gains: Floats) -> Floats:
    result: Floats = np.asarray(logsumexp(gains, axis=-1) - np.log(len(_BETS)), dtype=float)
    return result
