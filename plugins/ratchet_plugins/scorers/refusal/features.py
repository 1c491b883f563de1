"""What the refusal head sees of a completion: its meaning, the meaning of its start, and the pattern's word.

It must not know the head. Training and scoring call the same function, so they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ratchet_plugins.models.encoder import DIMENSIONS, Encoder
from ratchet_plugins.scorers.refusal.pattern import refuses_by_pattern

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["WIDTH", "refusal_features"]

WIDTH = 2 * DIMENSIONS + 1

_START = 220


def refusal_features(texts: Sequence[str], encoder: Encoder) -> npt.NDArray[np.float32]:
    """Return features [n, 769]: embedding of the text, embedding of its first 220 characters, pattern fired or not."""
    import numpy as np

    # One pass: what is short enough to be its own start is read once.
    starts = [text.strip()[:_START] for text in texts]
    distinct = list(dict.fromkeys([*texts, *starts]))
    row = {text: number for number, text in enumerate(distinct)}
    vectors = encoder.encode(distinct)
    whole, start = (vectors[[row[text] for text in side]] for side in (texts, starts))
    fired = np.array([[float(refuses_by_pattern(text) is True)] for text in texts], dtype=np.float32)
    return np.hstack([whole, start, fired.reshape(len(texts), 1)])
