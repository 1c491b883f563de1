"""The triage scorer: how likely a prompt, or a conversation given as one text, asks for something harmful.

It must not know what follows from a score. A flagged prompt is one to look at more closely, not one to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path

from ratchet_plugins.models.encoder import Encoder
from ratchet_plugins.scorers.errors import ScorerError, ScorerUnavailable
from ratchet_plugins.scorers.scorer import checked
from ratchet_plugins.scorers.weights import Weights, read_weights

__all__ = ["TriageScorer"]

_FILE = Path(__file__).parent / "weights" / "triage.safetensors"
_WINDOW = 500
"""Characters. Small, because a request is diluted by what stands around it in its window."""
_STRIDE = 350
_WINDOWS = 24
_ROLE = re.compile(r"^\W{0,3}\w{2,12}\W{0,3}:\s*")


class TriageScorer:
    """`harm` in [0, 1]. From `escalate` on, look closer; from `block` on, benign look-alikes are rare."""

    name = "triage"
    labels = ("harm",)
    primary = "harm"

    def __init__(self, escalate: float | None = None, block: float | None = None) -> None:
        """Choose the thresholds; weights and encoder are loaded on first use.

        Args:
            escalate: `harm` from which on a prompt deserves a closer look; None takes the calibrated one.
            block: `harm` from which on a prompt may be blocked without one; None takes the calibrated one.

        Raises:
            ScorerUnavailable: A threshold is out of range, or they are in the wrong order.
        """
        self._escalate = escalate
        self._block = block
        for value in (escalate, block):
            if value is not None and not 0.0 <= value <= 1.0:
                raise ScorerUnavailable(f"The triage threshold {value} is outside [0, 1]. Correct the setting.")
        if escalate is not None and block is not None and escalate > block:
            raise ScorerUnavailable(
                f"The triage threshold escalate={escalate} is above block={block}. Set escalate to the lower value."
            )

    @property
    def threshold(self) -> float:
        """The precision-oriented one, `block`: whoever knows only the port may act on it."""
        return self.block

    @cached_property
    def escalate(self) -> float:
        """`harm` from which on a prompt deserves a closer look."""
        return float(self._weights.settings["escalate"]) if self._escalate is None else self._escalate

    @cached_property
    def block(self) -> float:
        """`harm` from which on a prompt may be blocked: about 3 % of benign look-alikes reach it."""
        return float(self._weights.settings["block"]) if self._block is None else self._block

    @cached_property
    def version(self) -> str:
        """Digest of the weights, with the thresholds."""
        return f"{self._weights.digest}+{self.escalate:g}+{self.block:g}"

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return `harm` per text, in [0, 1].

        A long text is read in overlapping windows and gets the highest of their scores, so that padding hides
        little; of very long ones the first and the last windows are read. The last line of a text is
        also read by itself: in a conversation it is the request.

        Raises:
            ScorerError: Weights or encoder could not be loaded or run.
        """
        if not texts:
            return []
        windows = [_windows(text) for text in texts]
        try:
            import numpy as np
            from scipy.special import expit

            weights = self._weights
            vectors = _encoder(_FILE).encode([window for own in windows for window in own])
            head = weights.tensors["head.weight"].float().numpy()
            scores = expit(vectors @ head + weights.tensors["head.bias"].float().numpy())
            ends = np.cumsum([len(own) for own in windows])
            results = [{"harm": float(part.max())} for part in np.split(scores, ends[:-1])]
        except ScorerError:
            raise
        except Exception as error:
            raise ScorerError(
                f"Harm of {len(texts)} prompts could not be computed ({type(error).__name__}: {error})."
            ) from error
        return checked(self.name, self.labels, texts, results)

    @cached_property
    def _weights(self) -> Weights:
        return read_weights(_FILE)


@cache
def _encoder(path: Path) -> Encoder:
    """Return the process-wide encoder with triage's low-rank change."""
    return Encoder(read_weights(path).tensors)


def _windows(text: str) -> list[str]:
    """Return the pieces of a text that are read: overlapping windows, and its last line by itself."""
    if len(text) <= _WINDOW:
        found = [text]
    else:
        found = [text[start : start + _WINDOW] for start in range(0, len(text) - _WINDOW + _STRIDE, _STRIDE)]
    if len(found) > _WINDOWS:
        found = found[: _WINDOWS // 2] + found[-_WINDOWS // 2 :]
    # In a conversation the last turn is the request; small talk before it must not dilute it.
    last = _ROLE.sub("", text.rstrip().rpartition("\n")[2].strip())[:_WINDOW]
    return [*found, last] if last and last != text else found
