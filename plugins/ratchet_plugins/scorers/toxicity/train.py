"""Training of the toxicity scorer: `python -m ratchet_plugins.scorers.toxicity.train --data DIR [--out FILE]`.

It must not be imported by anything that serves. About ten minutes on two CPU threads.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_plugins.models.encoder import encoder_dir
from ratchet_plugins.scorers.learning.console import say
from ratchet_plugins.scorers.learning.finetuning import (
    Examples,
    Plan,
    add_low_rank,
    fine_tune,
    low_rank_tensors,
)
from ratchet_plugins.scorers.toxicity import data as sets
from ratchet_plugins.scorers.toxicity.labels import CLASSES
from ratchet_plugins.scorers.weights import write_weights

if TYPE_CHECKING:
    import torch

_RANK = 16
_POSITIVE = (1.0, 4.0, 3.0, 4.0, 1.5, 3.0)
"""How much more a positive weighs, per class: all but the first are rare, and would be learned as constants."""
_OUT = Path(__file__).parent / "weights" / "toxicity.safetensors"


def main() -> None:
    """Train, calibrate, write the weights."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the public data sets")
    parser.add_argument("--out", type=Path, default=_OUT)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    train, validation = _examples(arguments.data)
    say(len(train), "training examples:", dict(Counter(example.source for example in train)))
    model, forward = _network()
    plan = Plan(epochs=arguments.epochs, rate=7e-4, max_tokens=96, positive=_POSITIVE)
    fine_tune(model, model.classifier, forward, _tensors(train), plan, log=say)
    scale, shift = _calibrate(model, forward, validation)
    with torch.no_grad():
        model.classifier.weight.mul_(scale.unsqueeze(1))
        model.classifier.bias.mul_(scale).add_(shift)
    tensors = low_rank_tensors(model, "bert.")
    for name in ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"):
        tensors[name] = model.state_dict()[name].to(torch.float16)
    write_weights(arguments.out, tensors, {"threshold": 0.5, "classes": list(CLASSES), "rank": _RANK})
    say("wrote", arguments.out, arguments.out.stat().st_size, "bytes")


def _examples(data: Path) -> tuple[list[sets.Example], list[sets.Example]]:
    train: list[sets.Example] = []
    for part in (sets.civil, sets.davidson, sets.wiki, sets.madlibs, sets.benign_answers, sets.refusals):
        train += part(data)[0]
    train += sets.jigsaw(data) + sets.own_sentences(data)
    random.Random(1).shuffle(train)
    # Calibration never sees the held-out sets: it takes 6 % of the training side.
    cut = len(train) * 6 // 100
    return train[cut:], train[:cut]


def _network() -> tuple[Any, Any]:
    from transformers import BertForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    model = BertForSequenceClassification.from_pretrained(encoder_dir(), num_labels=len(CLASSES), local_files_only=True)
    add_low_rank(model.bert, _RANK, 2.0 * _RANK)
    for module in (model.bert.pooler, model.classifier):
        for parameter in module.parameters():
            parameter.requires_grad_(True)
    return model, lambda tokens, mask: model(input_ids=tokens, attention_mask=mask).logits


def _tensors(examples: list[sets.Example]) -> Examples:
    import torch

    return Examples(
        [example.text[:2000] for example in examples],
        torch.tensor([example.targets for example in examples]),
        torch.tensor([example.weight for example in examples]),
    )


def _calibrate(model: Any, forward: Any, validation: list[sets.Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and shift [6] of the logits that minimise cross-entropy on `validation` (Platt scaling).

    The shift of a label with few positives would be noise, so it is held near the identity by a small penalty.
    """
    import torch

    data = _tensors(validation)
    logits = _logits(forward, data.texts)
    known = ~torch.isnan(data.targets)
    scale = torch.ones(len(CLASSES), requires_grad=True)
    shift = torch.zeros(len(CLASSES), requires_grad=True)
    optimizer = torch.optim.LBFGS([scale, shift], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        raw = torch.nn.functional.binary_cross_entropy_with_logits(
            logits * scale + shift, torch.nan_to_num(data.targets), reduction="none"
        )
        loss = (raw * known).sum() / known.sum() + 1e-3 * ((scale - 1) ** 2 + shift**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    say("calibration scale", scale.tolist(), "shift", shift.tolist())
    return scale.detach(), shift.detach()


def _logits(forward: Any, texts: Any) -> torch.Tensor:
    import torch

    from ratchet_plugins.scorers.learning.finetuning import padded_batches

    with torch.inference_mode():
        parts = [(rows, forward(tokens, mask)) for rows, tokens, mask in padded_batches(texts, 256)]
    result = torch.zeros((len(texts), len(CLASSES)))
    for rows, values in parts:
        result[rows] = values
    return result.clone()


if __name__ == "__main__":
    main()
