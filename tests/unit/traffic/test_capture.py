"""Exchanges are kept off the request path, and a store that is down loses the oldest only when the queue is full."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ratchet_adapters.flags import Exchange, ExchangeNotFound, FlagStore, Message
from ratchet_adapters.registry import Registry
from ratchet_server.traffic.capture import Capture, CaptureSettings


def exchange(number: int, **scores: float) -> Exchange:
    message = (Message("user", f"prompt {number}"),)
    return Exchange(f"r{number}", message, "answer", "", "", "u", scores, (), "stop", datetime.now(UTC))


@pytest.fixture
def store(tmp_path: Path) -> FlagStore:
    return FlagStore.open(Registry.open(f"sqlite:///{tmp_path}/ratchet.db"))


async def test_recorded_exchanges_and_their_flags_are_in_the_store_once_flushed(store: FlagStore) -> None:
    flagged: list[tuple[str, str]] = []
    capture = Capture(store, CaptureSettings(flush_seconds=0.01), lambda kind, source: flagged.append((kind, source)))
    capture.start()
    capture.record(exchange(1, input_harm=0.9, refusal=0.0))
    capture.record(exchange(2, input_harm=0.0, refusal=0.0))
    await capture.flushed()
    await capture.close()
    assert store.exchange("r2").completion == "answer"
    flags, _ = store.flags()
    assert [(flag.kind, flag.source, flag.request_id) for flag in flags] == [("HARMFUL", "SCORER", "r1")]
    assert flagged == [("HARMFUL", "SCORER")]


class Broken:
    """A store that is down for its first `failures` writes."""

    def __init__(self, store: FlagStore, failures: int) -> None:
        self.store, self.failures = store, failures

    def save_exchanges(self, exchanges: list[Exchange]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("disk full")
        self.store.save_exchanges(exchanges)

    def submit(self, flags: list[object]) -> None:
        self.store.submit(flags)  # type: ignore[arg-type]


async def test_a_store_that_comes_back_gets_everything(store: FlagStore) -> None:
    capture = Capture(Broken(store, 1), CaptureSettings(flush_seconds=0.01), lambda kind, source: None)  # type: ignore[arg-type]
    capture.start()
    for number in range(5):
        capture.record(exchange(number))
    await capture.flushed()
    await capture.close()
    assert [store.exchange(f"r{n}").request_id for n in range(5)] == [f"r{n}" for n in range(5)]
    assert capture.dropped == 0


async def test_a_full_queue_drops_the_oldest_and_counts_them(store: FlagStore) -> None:
    capture = Capture(store, CaptureSettings(flush_seconds=0.01, queue_size=3), lambda kind, source: None)
    for number in range(5):
        capture.record(exchange(number))
    assert capture.dropped == 2
    capture.start()
    await capture.flushed()
    await capture.close()
    assert store.exchange("r4").request_id == "r4"


async def test_an_exchange_that_can_never_be_written_does_not_hold_the_others_up(store: FlagStore) -> None:
    capture = Capture(store, CaptureSettings(flush_seconds=0.01), lambda kind, source: None)
    capture.start()
    bad = exchange(1)
    capture.record(replace(bad, tenant="t" * 10_000))
    capture.record(exchange(2))
    await capture.flushed()
    await capture.close()
    assert store.exchange("r2").request_id == "r2"
    with pytest.raises(ExchangeNotFound):
        store.exchange("r1")
