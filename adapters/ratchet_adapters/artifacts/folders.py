"""Adapter folders by digest for processes that have no settings of Ratchet's: a stock `vllm serve` with its plug-ins.

Reads the two variables that name the store, RATCHET_ARTIFACTS__URL and RATCHET_STATE_DIR. It must not know vLLM.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from ratchet_adapters.artifacts.errors import ArtifactMissing
from ratchet_adapters.artifacts.opening import open_store
from ratchet_adapters.artifacts.settings import ArtifactSettings
from ratchet_adapters.artifacts.store import ArtifactStore

__all__ = ["adapter_folder"]

_STATE = Path.home() / ".local" / "share" / "ratchet"


def adapter_folder(digest: str) -> Path | None:
    """Return the immutable local folder of an adapter, its content compared with the digest; None: nobody has it.

    Raises:
        ArtifactCorrupt, ArtifactStoreUnavailable, ArtifactStoreFull.
    """
    url = os.environ.get("RATCHET_ARTIFACTS__URL") or None
    cached = os.environ.get("RATCHET_ARTIFACTS__CACHE") or None
    state = Path(os.environ.get("RATCHET_STATE_DIR") or _STATE)
    try:
        return _store(url, cached, state).fetch(digest)
    except ArtifactMissing:
        return None


@cache
def _store(url: str | None, cached: str | None, state: Path) -> ArtifactStore:
    settings = ArtifactSettings(url=url, cache=Path(cached) if cached else None)
    return open_store(settings.store_url(state), cache=settings.cache_dir(state))
