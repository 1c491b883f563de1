"""Sets up logging: one line per event, for people (rich) or for machines (JSON), without what users wrote.

It must not know what is logged. Use: `getLogger("ratchet...").info("adapter loaded", extra={"digest": digest})`.
A library that attaches a handler of its own and stops propagation bypasses this; vLLM does unless the environment has
VLLM_CONFIGURE_LOGGING=0 before its import.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO

from rich.console import Console
from rich.logging import RichHandler

from ratchet_server.observability.privacy import WITHHELD, safe_fields, safe_text
from ratchet_server.observability.settings import ObservabilitySettings

__all__ = ["JsonFormatter", "RichFormatter", "configure"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
OURS = ("ratchet", "ratchet_server", "ratchet_adapters", "ratchet_plugins")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (UTC, ISO 8601), level, logger, event, the fields, and error if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": safe_text(record.getMessage()),
        }
        line.update({name: value for name, value in _fields(record).items() if name not in line})
        error = _error(record)
        if error is not None:
            line["error"] = error
        return json.dumps(line, ensure_ascii=False)


class RichFormatter(logging.Formatter):
    """The event, its fields as name=value, and the error below; level and time are the handler's."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text for a person."""
        fields = (f"{name}={value}" for name, value in _fields(record).items())
        text = " ".join((safe_text(record.getMessage()), *fields))
        error = _error(record)
        return text if error is None else f"{text}\n{error}"


def configure(settings: ObservabilitySettings, stream: TextIO | None = None) -> logging.Handler:
    """Send every logger of the process to one handler. Calling it again replaces that handler.

    Other people's loggers write from WARNING up only: below that, model libraries log prompts.

    Args:
        settings: Level and format.
        stream: Where to write; standard error by default.

    Returns:
        The handler, for whoever wants to close or remove it.
    """
    out = sys.stderr if stream is None else stream
    people = settings.log_format == "rich" or (settings.log_format == "auto" and out.isatty())
    handler: logging.Handler
    if people:
        handler = RichHandler(console=Console(file=out), show_path=False, markup=False, highlighter=None)
        handler.setFormatter(RichFormatter())
    else:
        handler = logging.StreamHandler(out)
        handler.setFormatter(JsonFormatter())
    handler.addFilter(_ours_or_warning)
    handler.set_name("ratchet")
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == "ratchet"]:
        root.removeHandler(old)
    root.addHandler(handler)
    for name in OURS:
        logging.getLogger(name).setLevel(settings.log_level)
    logging.captureWarnings(True)
    return handler


def _ours_or_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.split(".", 1)[0] in OURS


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return safe_fields({name: value for name, value in vars(record).items() if name not in _STANDARD})


def _error(record: logging.LogRecord) -> str | None:
    """Return the exception with its stack, without its text if that repeats what is withheld."""
    if not record.exc_info or record.exc_info[1] is None:
        return None
    error = record.exc_info[1]
    lines = []
    for part in traceback.TracebackException.from_exception(error).format():
        safe = safe_text(part.rstrip("\n"))
        lines.append(f"{type(error).__qualname__}: {safe}" if safe == WITHHELD else safe)
    return "\n".join(lines)
