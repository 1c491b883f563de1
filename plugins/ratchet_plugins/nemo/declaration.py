"""What the action of a rail may say about itself beyond its manifest: how to check its configuration, what it needs.

NeMo's manifests have no room for it. A host that does not look (a stock NeMo) runs the rail all the same. It must not
know any rail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Check", "Declaration", "declaration", "declares"]

Check = Callable[[Mapping[str, str], Any], None]
_Action = TypeVar("_Action", bound=Callable[..., Any])
_ATTRIBUTE = "ratchet_declaration"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What is said of an action.

    Attributes:
        check: Called once when a configuration is loaded, with the flow's `$name=value` parameters and NeMo's
            configuration object. Raises RailMisconfigured. None: there is nothing to check.
        warm_up: Called as `check`, when a profile is about to serve: loads what a request must not wait for. Raises
            RailMisconfigured.
        longest_match: The longest text it finds, in characters, if it finds passages: a stream holds as much back.
        whole_text: Its verdict on a text says nothing of the beginnings of that text, so it can guard only answers
            that leave whole.
        guards_presence: It asks for something to be in the text, which a later rewrite could take out again.
    """

    check: Check | None = None
    warm_up: Check | None = None
    longest_match: int = 0
    whole_text: bool = False
    guards_presence: bool = False


def declares(said: Declaration) -> Callable[[_Action], _Action]:
    """Attach a declaration to an action."""

    def attach(action: _Action) -> _Action:
        setattr(action, _ATTRIBUTE, said)
        return action

    return attach


def declaration(action: Any) -> Declaration:
    """Return what was declared of an action; the defaults if nothing was."""
    said = getattr(action, _ATTRIBUTE, None)
    return said if isinstance(said, Declaration) else Declaration()
