"""Ctrl-C and SIGTERM reach the command as one call each, instead of ending the process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from ratchet_server.cli.signals import on_stop


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The handlers belong to the tests' shared loop and process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_makes_the_call(number: signal.Signals) -> None:
    stop = asyncio.Event()
    on_stop(stop.set)
    try:
        signal.raise_signal(number)
        await asyncio.wait_for(stop.wait(), 5)
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(each)
