"""Watches the folder of profiles and has those loaded anew whose files changed. It must not know what a profile is."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from watchfiles import awatch

from ratchet_server.rails.errors import RailsError
from ratchet_server.rails.loading import ProfileLoader

__all__ = ["watch_profiles"]

log = logging.getLogger(__name__)


async def watch_profiles(loader: ProfileLoader, folder: Path, *, settle_ms: int = 400, retry_s: float = 2.0) -> None:
    """Reload what changes, until cancelled.

    Args:
        loader: Loads profiles anew.
        folder: The folder of profile folders.
        settle_ms: Files written within this time of each other are one change.
        retry_s: Seconds until a folder that cannot be watched is tried again.
    """
    root = folder.resolve()
    while True:
        try:
            await _watch(loader, root, settle_ms)
        # Whatever ends the watching, the profiles that serve do serve on; it begins again.
        except (OSError, RuntimeError, RailsError) as error:
            log.error("cannot watch the rail profiles in %s: %s", folder, error)
        await asyncio.sleep(retry_s)


async def _watch(loader: ProfileLoader, root: Path, settle_ms: int) -> None:
    fresh = True
    async for changes in awatch(
        root, debounce=settle_ms, step=min(50, settle_ms), rust_timeout=1_000, yield_on_timeout=True
    ):
        names = {Path(path).relative_to(root).parts[0] for _, path in changes if Path(path) != root}
        known = [name for name in names if (root / name).is_dir() or name in loader.profiles.names]
        if fresh or known:
            # What changed before the watching began is in no event: the first time, all are looked at.
            await loader.reload(() if fresh else known)
            fresh = False
