"""What ends a command from outside: Ctrl-C and SIGTERM, which the event loop turns into one call."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


def on_stop(call: Callable[[], object]) -> None:
    """Has the running event loop make the call at SIGINT and at SIGTERM, each time one comes."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, call)
