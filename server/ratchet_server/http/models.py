"""The names under which OpenAI clients can ask: the routed default, the aliases, the base model, what is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ratchet_server.http.chat import ROUTED
from ratchet_server.routing.router import BASE, CANARY, CHAMPION, PREVIOUS, Router

__all__ = ["model_names"]


def model_names(router: Router, loaded: Iterable[str], allowed: Callable[[str], bool]) -> list[str]:
    """Return every name that is served now and that the caller may ask for, the default first; adapters by digest."""
    table = router.routing
    names = [CHAMPION]
    if table.version:
        names.append(PREVIOUS)
    if table.split == CANARY:
        names.append(CANARY)
    return [ROUTED, *filter(allowed, [*names, BASE, *sorted(loaded)])]
