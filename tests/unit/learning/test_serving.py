"""Blocking calls that a shutdown can interrupt."""

import asyncio
import threading
import time

import pytest

from ratchet.client import RatchetError
from ratchet_adapters.learning.errors import LearnerStopping, ServerUnavailable, StepFailed
from ratchet_adapters.learning.failures import typed_failure
from ratchet_adapters.learning.serving import ServingEngine, run_until_stopped


def test_the_result_of_the_work_is_returned() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert run_until_stopped(work, threading.Event()) == 7


def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run_until_stopped(work, threading.Event())


def test_a_shutdown_cancels_the_work_and_lets_it_clean_up() -> None:
    stopping, cleaned = threading.Event(), threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.set()

    threading.Timer(0.05, stopping.set).start()
    began = time.monotonic()
    with pytest.raises(LearnerStopping):
        run_until_stopped(work, stopping)
    assert cleaned.is_set() and time.monotonic() - began < 5


def test_what_the_tick_raises_cancels_the_work() -> None:
    cleaned = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.set()

    def tick() -> None:
        raise ValueError("cancelled from outside")

    with pytest.raises(ValueError, match="cancelled from outside"):
        run_until_stopped(work, threading.Event(), on_tick=tick)
    assert cleaned.is_set()


def test_a_server_that_is_not_there_is_an_unavailable_server() -> None:
    engine = ServingEngine("127.0.0.1:1", threading.Event(), timeout_s=5)
    with pytest.raises(RatchetError) as caught:
        engine.status()
    failure = typed_failure("select", caught.value, server="127.0.0.1:1")
    assert isinstance(failure, ServerUnavailable)
    assert "127.0.0.1:1" in str(failure) and "ratchet doctor" in str(failure)


def test_any_other_error_becomes_a_failed_step_that_names_it() -> None:
    failure = typed_failure("train", KeyError("epochs"), server="x")
    assert isinstance(failure, StepFailed)
    assert (failure.step, failure.cause) == ("train", "KeyError") and "epochs" in str(failure)
