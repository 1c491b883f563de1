"""What the rails of one profile version said lately, by rail and digest of what they judged.

It keeps no text, and no verdict that is not sure to be given again: none of a rail that failed, that rewrote, or that
asks a model which may be swapped. It must not know rails.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from ratchet_server.rails.verdict import Outcome, RailResult

__all__ = ["VerdictCache"]

_Key = tuple[str, bytes]


class VerdictCache:
    """One per side of a profile version: another version begins with an empty one. Used from one event loop.

    Args:
        size: Verdicts kept; the least recently used go first.
        seconds: How long one is good for: a rail may ask a service that learns.
        clock: Seconds from anywhere.
    """

    def __init__(self, size: int = 4_096, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept: OrderedDict[_Key, tuple[float, RailResult]] = OrderedDict()
        self._size = size
        self._seconds = seconds
        self._clock = clock

    @staticmethod
    def digest(messages: Sequence[Mapping[str, str]], text: str | None) -> bytes:
        """Return what identifies a text under judgement, all of its conversation included.

        Nothing is folded together (case, spaces, look-alikes): texts that a rail can tell apart must not share a
        verdict, or one could be got for another.
        """
        whole = json.dumps([[[m.get("role"), m.get("content")] for m in messages], text], ensure_ascii=True)
        return hashlib.blake2b(whole.encode("ascii"), digest_size=20).digest()

    def get(self, rail: str, digest: bytes) -> RailResult | None:
        """Return what a rail said of a text, or None."""
        found = self._kept.get((rail, digest))
        if found is None:
            return None
        if self._clock() >= found[0]:
            del self._kept[(rail, digest)]
            return None
        self._kept.move_to_end((rail, digest))
        return found[1]

    def put(self, rail: str, digest: bytes, result: RailResult) -> None:
        """Keep what a rail said, if it is sure to say it again."""
        if result.outcome is Outcome.FAILED or result.rewritten is not None:
            return
        self._kept[(rail, digest)] = (self._clock() + self._seconds, result)
        self._kept.move_to_end((rail, digest))
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
