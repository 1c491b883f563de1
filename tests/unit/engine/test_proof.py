"""The proof refuses adapters that do nothing or something else."""

from __future__ import annotations

import math

import pytest

from ratchet_server.engine.engine import LogProb
from ratchet_server.engine.errors import AdapterFingerprintMismatch, AdapterHasNoEffect
from ratchet_server.engine.proof import EFFECT_THRESHOLD, FINGERPRINT_TOLERANCE, NOISE_FLOOR, PROMPTS, prove


class Scores:
    """An engine whose adapter changes each fixed answer by a given amount."""

    def __init__(self, deltas):
        self.deltas = deltas

    async def score_answers(self, items, digest, *, priority):
        return [LogProb(-5.0 + (self.deltas[PROMPTS.index(item)] if digest else 0.0), 7, 0.0) for item in items]


def deltas(first):
    return [first] + [0.0] * (len(PROMPTS) - 1)


async def test_an_effective_adapter_is_described():
    proof = await prove(Scores(deltas(-4.0)), "d")
    assert proof.max_delta == pytest.approx(4.0)
    assert proof.mean_delta == pytest.approx(4.0 / len(PROMPTS))
    assert proof.prompts == len(PROMPTS) == len(proof.fingerprint)
    assert proof.fingerprint[0] == pytest.approx(-4.0)


@pytest.mark.parametrize("delta", [0.0, EFFECT_THRESHOLD * 0.99, -EFFECT_THRESHOLD * 0.99, math.nan, math.inf])
async def test_noise_and_nonsense_are_no_effect(delta):
    with pytest.raises(AdapterHasNoEffect):
        await prove(Scores(deltas(delta)), "d")


async def test_a_nan_after_a_real_effect_is_not_overlooked():
    with pytest.raises(AdapterHasNoEffect):
        await prove(Scores([4.0, math.nan] + [0.0] * (len(PROMPTS) - 2)), "d")


async def test_the_recorded_fingerprint_may_differ_by_noise_only():
    recorded = (await prove(Scores(deltas(4.0)), "d")).fingerprint
    await prove(Scores(deltas(4.0 + NOISE_FLOOR)), "d", recorded)
    with pytest.raises(AdapterFingerprintMismatch) as caught:
        await prove(Scores(deltas(4.1 + FINGERPRINT_TOLERANCE)), "d", recorded)
    assert caught.value.distance > caught.value.tolerance


async def test_a_fingerprint_of_another_length_is_a_mismatch():
    with pytest.raises(AdapterFingerprintMismatch):
        await prove(Scores(deltas(4.0)), "d", (4.0,))
