"""What a user has asked for over all turns of a conversation, as short readings a small encoder can judge.

A request need not stand in one message: it can be quoted in an earlier one ("what does this sentence mean?") and only
referred to in the last, or be dealt out in halves. A whole conversation read at once hides it: the request drowns in
what stands around. It must not know any scorer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["readings"]

_PARTS = re.compile(r"[“”„\"«»]|\n+|:\s|(?<=[.!?])\s+")
_FEWEST_WORDS = 3
_LONGEST = 500
_TURNS = 6
_PER_TURN = 8
_MOST = 24


def readings(turns: Sequence[str]) -> list[str]:
    """Return what may be a request in a conversation.

    Args:
        turns: The user's messages, oldest first, the present one last.

    Returns:
        For each of the last six turns its sentences and quotations by themselves, and for neighbours the end of the
        one joined with the parts of the next; at most 24, later turns first, none for a single turn.
    """
    if len(turns) < 2:
        return []
    parts = [_parts(turn) for turn in turns[-_TURNS:]]
    found: dict[str, None] = {}
    for index in range(len(parts) - 1, -1, -1):
        if index and parts[index - 1]:
            found.update((f"{parts[index - 1][-1]} {part}"[-_LONGEST:], None) for part in parts[index][:3])
        found.update((part, None) for part in parts[index] if len(part.split()) >= _FEWEST_WORDS)
    return list(found)[:_MOST]


def _parts(turn: str) -> list[str]:
    """Return the sentences and quotations of a turn; of a long one the first and the last."""
    # A label such as "Part A" says nothing by itself and hides what it stands before.
    parts = [part.strip()[:_LONGEST] for part in _PARTS.split(turn) if len(part.split()) > 2 or len(part) > 12]
    if len(parts) > _PER_TURN:
        parts = parts[: _PER_TURN // 2] + parts[-_PER_TURN // 2 :]
    return parts
