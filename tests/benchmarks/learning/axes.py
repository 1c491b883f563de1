"""What every method is measured on besides its own target: refusal, over-refusal, held-out NLL, cloze."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.learning.model import loaded

from ratchet_adapters.evals.figure import share
from ratchet_adapters.evals.item import Axis, Item
from ratchet_adapters.evals.judges.defaults import default_judges
from ratchet_adapters.evals.judges.judge import Answer
from ratchet_adapters.evals.local import LocalModel
from ratchet_adapters.evals.suites.seed import seed_items
from ratchet_adapters.training.trainers.generation import generate
from ratchet_adapters.training.trainers.model import load_tokenizer

_ANSWER_TOKENS = 16
_EVERY = 3


def axes(base: Path, adapter: Path | None, *, quick: bool) -> dict[str, Any]:
    """Return harmful_refusal and over_refusal with intervals, nll in nats per token, cloze as a share.

    On the eval split of the seed suites, by the gate's judge, greedy, the model alone; of the items every third one.
    """
    model = loaded(base, adapter, merged=True)
    tokenizer = load_tokenizer(base)
    step = 20 if quick else _EVERY
    found: dict[str, Any] = {}
    for name, kind in (("harmful_refusal", "harmful"), ("over_refusal", "benign_twin")):
        items = seed_items(kind, "eval")[::step]
        texts = generate(model, tokenizer, [item.prompt for item in items], max_tokens=_ANSWER_TOKENS)
        judged = default_judges()[Axis.HARMFUL_REFUSAL].judge(
            [Answer(item.prompt, text) for item, text in zip(items, texts, strict=True)]
        )
        found[name] = asdict(share(name, [judgement.value for judgement in judged]))
    local = LocalModel(model, tokenizer)
    scored = local.log_probs([("", item.prompt) for item in seed_items("text", "eval")[::step]])
    found["nll"] = -sum(one.log_prob for one in scored) / sum(one.tokens for one in scored)
    found["cloze"] = _cloze(local, seed_items("cloze", "eval")[::step])
    return found


def _cloze(model: LocalModel, items: Sequence[Item]) -> float:
    asked = [(item.prompt, f" {choice}") for item in items for choice in item.extra["choices"]]
    scored = iter(model.log_probs(asked))
    right = 0
    for item in items:
        own = [next(scored) for _ in item.extra["choices"]]
        by_token = item.extra.get("normalise") == "tokens"
        likely = [one.log_prob / one.tokens if by_token else one.log_prob for one in own]
        right += likely.index(max(likely)) == item.extra["answer"]
    return right / len(items)
