"""Keeps the champion folded when the operator asked for it, off the request path.

Promotion and rollback never wait for this: a champion that is not folded yet is served as a LoRA. It must not know how
adapters are folded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from ratchet_server.engine.errors import EngineError
from ratchet_server.engine.folding import FoldReport

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
SETTLE_SECONDS = 1.0
"""A champion is folded once it has been champion for so long: swaps in quick succession cost nothing."""

AGAIN_SECONDS = 60.0
"""After a failure; the next champion is tried at once."""


class Folds(Protocol):
    """The part of an engine that folds."""

    @property
    def folded(self) -> str:
        """The adapter folded now, "" for none."""
        ...

    def holds(self, digest: str) -> bool:
        """Whether an adapter is loaded."""
        ...

    async def fold(self, digest: str) -> FoldReport:
        """Fold a loaded adapter in the place of another."""
        ...

    async def unfold(self) -> None:
        """Serve what is folded as a LoRA again."""
        ...


async def keep_champion_folded(engine: Folds, champion: Callable[[], str], *, settle: float = SETTLE_SECONDS) -> None:
    """Runs until cancelled.

    Args:
        engine: Folds.
        champion: Digest of the champion now; "" is the base model, which needs no fold.
        settle: Seconds a champion must have served before it is folded.
    """
    seen, since, not_before = champion(), time.monotonic(), 0.0
    while True:
        await asyncio.sleep(min(LOOK_SECONDS, settle or LOOK_SECONDS))
        now = time.monotonic()
        if champion() != seen:
            seen, since, not_before = champion(), now, 0.0
        if engine.folded == seen or now - since < settle or now < not_before:
            continue
        try:
            if not seen:
                await engine.unfold()
            elif engine.holds(seen):
                report = await engine.fold(seen)
                log.info(
                    "%s is folded after %.1f s: %d modules built in %.1f s",
                    seen[:19], report.seconds, report.modules, report.build_seconds,
                )  # fmt: skip
        except EngineError as error:
            not_before = time.monotonic() + AGAIN_SECONDS
            log.warning("%s; next try in %.0f s", error, AGAIN_SECONDS)
