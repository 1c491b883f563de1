"""Keeps what users and models wrote out of the logs.

Two fences. Fields of our own events are let through by name and type. And while a request is worked on, `withheld`
names its texts: a log line, an exception message or a traceback that repeats a piece of them loses its text, whichever
library wrote it. It must not know how lines are written; `logging.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["NAMES", "WITHHELD", "safe_fields", "safe_text", "withheld"]

WITHHELD = "[withheld: it repeats user or model text]"
# Fields whose value is a name of ours or of the operator's, never free text.
NAMES = frozenset(
    {
        "adapter", "alias", "axis", "base", "champion", "code", "component", "dataset", "device", "digest", "direction",
        "error_type", "event", "finish_reason", "flag_id", "gate", "host", "kind", "method", "model", "outcome", "path",
        "policy", "previous", "principal", "profile", "rail", "report_id", "request_id", "rpc", "run_id", "source",
        "state", "step", "suite", "tenant", "url", "version",
    }
)  # fmt: skip
# Characters. Shorter common pieces are everyday words, and hiding them would hide the log.
_WINDOW = 24
_SHORTEST = 8

_texts: ContextVar[tuple[str, ...]] = ContextVar("ratchet_withheld_texts", default=())


@contextmanager
def withheld(*texts: str) -> Iterator[None]:
    """Keep these texts out of every log line written inside the block, and in tasks and threads that inherit it.

    Args:
        texts: What the user or the model wrote. A text of fewer than 8 characters is not looked for.
    """
    token = _texts.set((*_texts.get(), *(text for text in texts if len(text) >= _SHORTEST)))
    try:
        yield
    finally:
        _texts.reset(token)


def safe_text(line: str) -> str:
    """Return the line, or a note in its place if it repeats 24 characters in a row (or all) of a withheld text."""
    return WITHHELD if any(_shares(line, text) for text in _texts.get()) else line


def safe_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """Return an event's fields fit for a log.

    Numbers and truth values pass; strings pass only under a name in `NAMES`; of anything else only the size or type
    is told.
    """
    return {name: _safe_value(name, value) for name, value in fields.items()}


def _safe_value(name: str, value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return safe_text(value) if name in NAMES else f"[{len(value)} characters]"
    if isinstance(value, list | tuple | dict | set):
        return f"[{type(value).__name__} of {len(value)}]"
    return f"[{type(value).__name__}]"


def _shares(line: str, text: str) -> bool:
    # A library may have logged the text through repr() or as JSON, where quotes and newlines are escaped.
    for form in {text, repr(text)[1:-1]}:
        size = min(_WINDOW, len(form))
        if any(line[start : start + size] in form for start in range(len(line) - size + 1)):
            return True
    return False
