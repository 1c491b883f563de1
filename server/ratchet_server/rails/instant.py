"""The instant rail: blocks repeats of contained flags, by their words and by their meaning.

It must not know who contains, where containments are kept, nor how a request is served. Prompts are compared with one
immutable snapshot; a prompt that cannot be compared is a FAILED verdict.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ratchet_adapters.flags.containment import Containment
from ratchet_plugins.nemo.normal import words_of
from ratchet_plugins.nemo.segments import segments
from ratchet_server.rails.message import Message, turn_to_judge
from ratchet_server.rails.scoring import ScorerPool
from ratchet_server.rails.verdict import ALLOWED, Decision, Direction, Outcome, Verdict

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["RAIL", "SIMILAR", "InstantRail"]

RAIL = "contained flags"
SIMILAR = 0.8
"""Cosine of plain MiniLM vectors from which on a prompt repeats a contained one. Chosen, not calibrated."""
_MOST_PIECES = 64
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class _Entry:
    containment: Containment
    words: str

    def concerns(self, tenant: str, profile: str, adapter: str, now: datetime) -> bool:
        own = self.containment
        in_scope = own.tenant in ("", tenant) and own.profile in ("", profile)
        covered = bool(own.covered_by) and own.covered_by == adapter
        return in_scope and not covered and now < own.expires_at


@dataclass(frozen=True, slots=True)
class _Snapshot:
    entries: tuple[_Entry, ...] = ()
    vectors: npt.NDArray[np.float32] | None = None


class InstantRail:
    """One per server.

    Args:
        pool: Encodes texts, in the batches all requests share.
        on_block: Told of every block; must not raise nor wait.
    """

    def __init__(self, pool: ScorerPool, on_block: Callable[[Containment], None] = lambda _: None) -> None:
        self._pool = pool
        self._on_block = on_block
        self._snapshot = _Snapshot()

    @property
    def containments(self) -> tuple[Containment, ...]:
        """What is blocked at present, unless it has expired since."""
        return tuple(entry.containment for entry in self._snapshot.entries)

    async def use(self, containments: Sequence[Containment]) -> None:
        """Block repeats of these from now on, and of no others.

        Raises:
            ModelError, RailsError: They could not be read; what was blocked before still is.
        """
        if [(c.id, c.covered_by) for c in containments] == [(c.id, c.covered_by) for c in self.containments]:
            return
        import numpy as np

        entries = tuple(_Entry(c, f" {' '.join(words_of(c.text))} ") for c in containments)
        vectors = await self._pool.encode([c.text for c in containments])
        self._snapshot = _Snapshot(entries, np.stack(vectors) if vectors else None)

    async def check(self, messages: Sequence[Message], *, tenant: str, profile: str, adapter: str) -> Decision:
        """Judge a conversation: its present turn, and all that its user has said. Never raises; can be cancelled.

        Args:
            messages: The conversation.
            tenant: Whose it is.
            profile: The rail profile it is served under.
            adapter: Digest of the adapter that answers, "" for none.
        """
        now, snapshot = datetime.now(UTC), self._snapshot
        concerned = [i for i, entry in enumerate(snapshot.entries) if entry.concerns(tenant, profile, adapter, now)]
        if not concerned:
            return ALLOWED
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                found, similarity = await self._nearest(snapshot, concerned, _readings(messages))
        # Whatever went wrong, nobody knows whether this is a repeat.
        except Exception as error:
            reason = f"prompts cannot be compared with contained flags: {type(error).__name__}"
            return Decision.of([Verdict(RAIL, Direction.INPUT, Outcome.FAILED, reason)], {})
        milliseconds = (time.perf_counter() - begin) * 1e3
        if found is None:
            allow = Verdict(RAIL, Direction.INPUT, Outcome.ALLOW, "", similarity, SIMILAR, milliseconds)
            return Decision.of([allow], {})
        self._on_block(found)
        reason = f"repeats the contained flag {found.flag_id}"
        return Decision.of(
            [Verdict(RAIL, Direction.INPUT, Outcome.BLOCK, reason, similarity, SIMILAR, milliseconds)], {}
        )

    async def _nearest(
        self, snapshot: _Snapshot, concerned: list[int], readings: list[str]
    ) -> tuple[Containment | None, float]:
        """Return the containment that is repeated, if one is, and how near the nearest is, in [0, 1]."""
        for reading in readings:
            words = f" {' '.join(words_of(reading))} "
            for index in concerned:
                if snapshot.entries[index].words in words:
                    return snapshot.entries[index].containment, 1.0
        pieces = list(dict.fromkeys(piece for reading in readings for piece in segments(reading) if piece.strip()))
        if not pieces or snapshot.vectors is None:
            return None, 0.0
        if len(pieces) > _MOST_PIECES:
            pieces = pieces[: _MOST_PIECES // 2] + pieces[-_MOST_PIECES // 2 :]
        import numpy as np

        near = (np.stack(await self._pool.encode(pieces)) @ snapshot.vectors[concerned].T).max(axis=0)
        best = int(near.argmax())
        if not np.isfinite(near).all():
            raise ValueError("a vector is no number")
        similarity = float(np.clip(near[best], 0.0, 1.0))
        return (snapshot.entries[concerned[best]].containment if similarity >= SIMILAR else None), similarity


def _readings(messages: Sequence[Message]) -> list[str]:
    turn = turn_to_judge(messages)[-1]["content"]
    said = "\n".join(message.content for message in messages if message.role == "user" and message.content)
    return [turn] if said == turn else [turn, said]
