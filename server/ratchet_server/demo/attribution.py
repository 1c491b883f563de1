"""Whether an answer was written by the one adapter its receipt names, checked from outside.

Every token of a greedy answer is the likeliest one under the adapter that wrote it. An answer that changed adapters on
the way, or was served from another one's cache, has a token that the named adapter would not have chosen. Batch
composition moves bf16 log-probabilities by a fraction of a nat, hence the tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ratchet.client import AsyncRatchet
from ratchet.v1 import engine_pb2
from ratchet_server.demo.crowd import Talk

TOLERANCE_NATS = 1.0
BATCH = 64


@dataclass(frozen=True)
class Mixture:
    """An answer with a token that the adapter in its receipt would not have chosen."""

    talk: Talk
    gap_nats: float


async def mixtures(client: AsyncRatchet, model: Path, talks: Sequence[Talk]) -> tuple[list[Mixture], int]:
    """Checks whole, released, greedy answers.

    Args:
        model: Folder of the base model, for its chat template.
        talks: Greedy answers. Left out: those without text or with an error, and those that are not plain ASCII, whose
            text does not lead back to the tokens it was made of. The last word may be half a token: it is cut.

    Returns:
        What is wrong, and how many answers were checked.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    found, checked = [], 0
    by_digest: dict[str, list[Talk]] = {}
    for talk in talks:
        if _whole(talk.text) and talk.text.isascii() and not talk.error:
            by_digest.setdefault(talk.digest, []).append(talk)
    for digest, group in by_digest.items():
        items = []
        for talk in group:
            message = [{"role": "user", "content": talk.prompt}]
            context = str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
            items.append(engine_pb2.ScoreItem(context=context, continuation=_whole(talk.text)))
        gaps = await _gaps(client, digest, items)
        checked += len(group)
        found += [Mixture(talk, gap) for talk, gap in zip(group, gaps, strict=True) if gap > TOLERANCE_NATS]
    return found, checked


def _whole(text: str) -> str:
    """Without its last word and what follows it."""
    return text.rstrip().rpartition(" ")[0].rstrip()


async def _gaps(client: AsyncRatchet, digest: str, items: Sequence[engine_pb2.ScoreItem]) -> list[float]:
    gaps: list[float] = []
    for start in range(0, len(items), BATCH):
        request = engine_pb2.ScoreRequest(adapter=digest or "base", items=items[start : start + BATCH])
        response = await client.engine.Score(request, timeout=300)
        gaps += [r.worst_gap for r in response.results]
    return gaps
