"""The toxicity scorer: a real `detoxify.Detoxify`, with our small checkpoint by default or one of Detoxify's own.

It must not know how our checkpoint was trained. It scores language, not harm: a polite recipe for harm scores low.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ratchet_plugins.models import cache
from ratchet_plugins.models.errors import ModelError
from ratchet_plugins.scorers.errors import ScorerError, ScorerUnavailable
from ratchet_plugins.scorers.scorer import checked
from ratchet_plugins.scorers.toxicity.checkpoint import prepare_toxicity_checkpoint, toxicity_weights
from ratchet_plugins.scorers.toxicity.labels import LABELS, PRIMARY

__all__ = ["DEFAULT_MODEL", "ToxicityScorer"]

DEFAULT_MODEL = "ratchet-minilm"

# Named by content in Detoxify's own download addresses, so the name is the version.
_DOWNLOADS = {
    "original": ("c1212f89", LABELS),
    "unbiased": ("c7548aa0", (*LABELS, "sexual_explicit")),
    "multilingual": ("0b549669", (*LABELS, "sexual_explicit")),
}
_MAX_TOKENS = 512
_BATCH = 32


class ToxicityScorer:
    """Six Jigsaw labels in [0, 1]; `toxicity` is the primary one."""

    name = "toxicity"
    primary = PRIMARY

    def __init__(self, model: str = DEFAULT_MODEL, threshold: float = 0.5, device: str = "cpu") -> None:
        """Choose the model; it is loaded on first use.

        Args:
            model: `ratchet-minilm` (ours), `original`, `unbiased` or `multilingual` (downloaded by Detoxify), or the
                path of a checkpoint in Detoxify's format. A checkpoint is a pickle: name only files you trust.
            threshold: `toxicity` from which on a text counts as toxic, in [0, 1].
            device: Where torch puts the network.

        Raises:
            ScorerUnavailable: The model is neither a known name nor a file, or the threshold is out of range.
        """
        if model not in (DEFAULT_MODEL, *_DOWNLOADS) and not Path(model).is_file():
            raise ScorerUnavailable(
                f"There is no toxicity model {model!r}. Use {DEFAULT_MODEL}, {', '.join(_DOWNLOADS)}, or the path of "
                "a Detoxify checkpoint."
            )
        if not 0.0 <= threshold <= 1.0:
            raise ScorerUnavailable(f"The toxicity threshold {threshold} is outside [0, 1]. Correct the setting.")
        self.threshold = threshold
        self._model = model
        self._device = device
        self._lock = threading.Lock()
        self._loaded: Any = None

    @cached_property
    def version(self) -> str:
        """Digest of the weights and the threshold."""
        if self._model == DEFAULT_MODEL:
            content = toxicity_weights().digest
        elif self._model in _DOWNLOADS:
            content = f"detoxify {self._model} {_DOWNLOADS[self._model][0]}"
        else:
            content = cache.sha256_of(Path(self._model))
        return f"sha256:{hashlib.sha256(f'{content} {self.threshold}'.encode()).hexdigest()}"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """What the chosen model reports; asking loads a checkpoint given by path."""
        if self._model == DEFAULT_MODEL:
            return LABELS
        if self._model in _DOWNLOADS:
            return _DOWNLOADS[self._model][1]
        return tuple(self._detoxify().class_names)

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return six labels per text, each in [0, 1]; texts are cut at 512 word pieces.

        Raises:
            ScorerError: The model could not be loaded or run.
        """
        import torch

        if not texts:
            return []
        results: list[dict[str, float]] = [{} for _ in texts]
        model = self._detoxify()
        # Batches of similar length waste the least on padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        try:
            for start in range(0, len(order), _BATCH):
                rows = order[start : start + _BATCH]
                # The tokenizer keeps state between calls; the lock is per batch, so that a short request does not
                # wait for the whole of a long one.
                with self._lock, torch.inference_mode():
                    columns = model.predict([texts[row] for row in rows])
                for line, row in enumerate(rows):
                    # For a single text Detoxify returns numbers instead of lists.
                    results[row] = {
                        label: float(columns[label][line] if len(rows) > 1 else columns[label]) for label in self.labels
                    }
        except Exception as error:
            raise ScorerError(
                f"Toxicity of {len(texts)} texts could not be computed ({type(error).__name__}: {error}). "
                "Check memory and, if it persists, run `ratchet models prepare --force`."
            ) from error
        return checked(self.name, self.labels, texts, results)

    def _detoxify(self) -> Any:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> Any:
        try:
            from detoxify import Detoxify

            with _quiet():
                if self._model in _DOWNLOADS:
                    model = Detoxify(self._model, device=self._device)
                else:
                    model = Detoxify(checkpoint=str(self._checkpoint()), device=self._device)
            # Detoxify leaves this unset for some tokenizers, and then nothing is cut.
            model.tokenizer.model_max_length = _MAX_TOKENS
            model.model.eval()
        except (ScorerError, ModelError) as error:
            raise ScorerUnavailable(f"The toxicity model {self._model!r} is not ready. {error}") from error
        except Exception as error:
            raise ScorerUnavailable(
                f"Detoxify could not load {self._model!r} ({type(error).__name__}: {error}). Run `ratchet models "
                "prepare`, check the network for a downloaded model, or set the default one."
            ) from error
        if PRIMARY not in model.class_names:
            raise ScorerUnavailable(
                f"The checkpoint {self._model!r} has no class 'toxic' or 'toxicity', only {model.class_names}. "
                "Name a toxicity checkpoint."
            )
        return model

    def _checkpoint(self) -> Path:
        if self._model != DEFAULT_MODEL:
            return Path(self._model)
        path = prepare_toxicity_checkpoint()
        # It is a pickle: hash every byte of it before torch opens it.
        cache.verify(path.parent, full=True)
        return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing progress bars and load reports, and restore its settings afterwards."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
