"""Training of triage: `python -m ratchet_plugins.scorers.triage.train --data DIR --seed DIR [--out FILE]`.

It must not be imported by anything that serves. Thresholds come from clusters left out of training, never from the
evaluation split. About ten minutes on two CPU threads.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_plugins.models.encoder import Encoder, encoder_dir, pool
from ratchet_plugins.scorers.learning import sources
from ratchet_plugins.scorers.learning.console import say
from ratchet_plugins.scorers.learning.finetuning import (
    Examples,
    Plan,
    add_low_rank,
    fine_tune,
    low_rank_tensors,
)
from ratchet_plugins.scorers.triage import data as sets
from ratchet_plugins.scorers.triage.augmentation import AUGMENTED, reformed, surrounded
from ratchet_plugins.scorers.weights import write_weights

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

_OUT = Path(__file__).parent / "weights" / "triage.safetensors"
_RANK = 8
_FOLDS = 2
_SCALE = 10.0
"""Logits are this times w.v + b: unit vectors need steep heads, and a small rate would not get there."""
_BLOCK_RATE = 0.03
_ESCALATE_RATE = 0.15
_SEED_SOURCES = ("harmful", "benign_twin", "ordinary")
_PLAN = Plan(epochs=2, rate=4e-4, head_rate=2e-3, max_tokens=128)


def main() -> None:
    """Cross-validate over clusters, choose thresholds, fit on everything, write the weights."""
    import numpy as np
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the public data sets")
    parser.add_argument("--seed", type=Path, required=True, help="folder of the seed suite")
    parser.add_argument("--out", type=Path, default=_OUT)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    prompts = _prompts(arguments.seed, arguments.data)
    fold = _folds(prompts)
    logits = np.zeros(len(prompts))
    for number in range(_FOLDS):
        network = _learn([prompt for prompt, own in zip(prompts, fold, strict=True) if own != number])
        out = np.flatnonzero(fold == number)
        logits[out] = network.encode([prompts[row].text for row in out])
    plain = (fold >= 0) & np.array([prompt.source != AUGMENTED for prompt in prompts])
    scale, shift = _platt(logits[plain], np.array([prompt.harmful for prompt in prompts])[plain])
    settings = _thresholds(prompts, fold, 1 / (1 + np.exp(-(logits * scale + shift))))

    network = _learn(prompts)
    tensors = low_rank_tensors(network.body)
    tensors["head.weight"] = (network.head.weight.detach()[0] * _SCALE * scale).to(torch.float16)
    tensors["head.bias"] = (network.head.bias.detach() * _SCALE * scale + shift).to(torch.float32)
    write_weights(arguments.out, tensors, {**settings, "rank": _RANK})
    say("wrote", arguments.out, arguments.out.stat().st_size, "bytes", settings)


class _Network:
    """MiniLM with LoRA factors and one linear output on its pooled vector."""

    def __init__(self) -> None:
        import torch
        from transformers import BertModel
        from transformers.utils import logging

        logging.set_verbosity_error()
        torch.manual_seed(_PLAN.seed)
        self.body: Any = BertModel.from_pretrained(encoder_dir(), local_files_only=True, add_pooling_layer=False)
        add_low_rank(self.body, _RANK, 2.0 * _RANK)
        self.head = torch.nn.Linear(self.body.config.hidden_size, 1)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = self.body(input_ids=tokens, attention_mask=mask).last_hidden_state
        logits: torch.Tensor = _SCALE * self.head(pool(hidden, mask))
        return logits

    def encode(self, texts: list[str]) -> npt.NDArray[np.float64]:
        """Return the logits [n] of texts."""
        import numpy as np
        import torch

        from ratchet_plugins.scorers.learning.finetuning import padded_batches

        result = np.zeros(len(texts))
        with torch.inference_mode():
            for rows, tokens, mask in padded_batches(texts, 256):
                result[rows] = self.forward(tokens, mask)[:, 0].numpy()
        return result


def _prompts(seed: Path, data: Path) -> list[sets.Prompt]:
    found = sets.training_prompts(seed, data)
    held_out = [prompt.text for prompt in sets.seed(seed, "eval")]
    held_out += [text for texts in sets.held_out_harmful(data).values() for text in texts]
    found += reformed(found, 0.4)
    # Dropped after the change of form, which can bring a prompt closer to a held-out one, and before sentences are put
    # around it, which would hide that.
    kept = sets.drop_near_duplicates(found, held_out, Encoder())
    say(f"{len(found) - len(kept)} near-duplicates of held-out prompts dropped")
    kept += surrounded(kept, sources.self_instruct(data)[1] + sources.coconot(data)[1], 0.3)
    say(dict(Counter(prompt.source for prompt in kept)))
    return kept


def _folds(prompts: list[sets.Prompt]) -> npt.NDArray[np.int64]:
    """Return the fold of each seed prompt, whole clusters together; -1 for public data, which is always trained on."""
    import numpy as np

    clusters = sorted({p.cluster for p in prompts if p.source in _SEED_SOURCES})
    number = {cluster: place % _FOLDS for place, cluster in enumerate(clusters)}
    return np.array([number.get(prompt.cluster, -1) for prompt in prompts])


def _learn(prompts: list[sets.Prompt]) -> _Network:
    import torch

    network = _Network()
    examples = Examples(
        [prompt.text for prompt in prompts],
        torch.tensor([[float(prompt.harmful)] for prompt in prompts]),
        torch.ones(len(prompts)),
    )
    fine_tune(network.body, network.head, network.forward, examples, _PLAN, log=say)
    return network


def _platt(logits: npt.NDArray[np.float64], harmful: npt.NDArray[np.bool_]) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e3).fit(logits[:, None], harmful)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _thresholds(
    prompts: list[sets.Prompt], fold: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Return the two thresholds, set by false-positive rate on benign twins of clusters not trained on."""
    import numpy as np
    from sklearn.metrics import roc_auc_score

    source = np.array([prompt.source for prompt in prompts])
    harmful, twins, plain = (scores[(source == name) & (fold >= 0)] for name in _SEED_SOURCES)
    area = roc_auc_score(np.r_[np.ones(len(harmful)), np.zeros(len(twins))], np.r_[harmful, twins])
    say(f"left-out clusters: AUC harmful against twins {area:.3f} ({len(harmful)} and {len(twins)})")
    result: dict[str, Any] = {}
    for name, rate in (("block", _BLOCK_RATE), ("escalate", _ESCALATE_RATE)):
        bar = float(np.quantile(twins, 1 - rate, method="higher"))
        result[name] = round(bar, 4)
        say(
            f"  {name} {bar:.3f}: recall {(harmful >= bar).mean():.3f}, twins {(twins >= bar).mean():.3f}, "
            f"ordinary {(plain >= bar).mean():.3f}"
        )
    return result


if __name__ == "__main__":
    main()
