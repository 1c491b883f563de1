"""The micro-batcher: calls share batches, a bad text or a gone caller does not touch the others, limits hold."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from ratchet_plugins.scorers.errors import ScorerError
from ratchet_plugins.scorers.scorer import Scorer
from ratchet_server.rails.errors import ScorerOverloaded, ScorerStopped
from ratchet_server.rails.scoring import BatchedScorer, ScorerPool


class SlowScorer:
    """A test double of the Scorer port whose batches wait for a gate, so that tests decide what queues up."""

    name, version, labels, primary, threshold = "slow", "sha256:double", ("length",), "length", 0.5

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[str]] = []
        self.threads: set[str] = set()

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        self.batches.append(list(texts))
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.gate.wait(10)
        if "poison" in texts:
            raise ScorerError("cannot score this")
        return [{"length": len(text) / 1_000} for text in texts]


async def entered(scorer: SlowScorer) -> None:
    assert await asyncio.to_thread(scorer.entered.wait, 5)


async def test_calls_that_come_while_a_batch_runs_share_the_next_one() -> None:
    scorer = SlowScorer()
    batched = BatchedScorer(scorer)
    calls = [asyncio.create_task(batched.score(["first"]))]
    await entered(scorer)
    calls += [asyncio.create_task(batched.score(["x" * n])) for n in range(1, 21)]
    await asyncio.sleep(0.01)
    scorer.gate.set()
    rows = await asyncio.gather(*calls)
    assert [row[0]["length"] for row in rows[1:]] == [n / 1_000 for n in range(1, 21)]
    assert [len(batch) for batch in scorer.batches] == [1, 20]
    assert scorer.threads == {"ratchet-scorer-slow"}
    batched.close()


async def test_a_batch_is_never_larger_than_its_bound() -> None:
    scorer = SlowScorer()
    scorer.gate.set()
    batched = BatchedScorer(scorer, max_batch=4)
    rows = await batched.score([f"{n}" for n in range(11)])
    assert len(rows) == 11
    assert max(len(batch) for batch in scorer.batches) <= 4
    batched.close()


async def test_a_text_that_cannot_be_scored_fails_its_own_call_only() -> None:
    scorer = SlowScorer()
    batched = BatchedScorer(scorer)
    first = asyncio.create_task(batched.score(["first"]))
    await entered(scorer)
    bad, good = asyncio.create_task(batched.score(["poison"])), asyncio.create_task(batched.score(["fine"]))
    await asyncio.sleep(0.01)
    scorer.gate.set()
    with pytest.raises(ScorerError):
        await bad
    assert (await good)[0]["length"] == 4 / 1_000
    await first
    batched.close()


async def test_a_caller_that_is_gone_is_not_scored_for() -> None:
    scorer = SlowScorer()
    batched = BatchedScorer(scorer)
    first = asyncio.create_task(batched.score(["first"]))
    await entered(scorer)
    gone = asyncio.create_task(batched.score(["gone"]))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.wait({gone})
    scorer.gate.set()
    await first
    await batched.score(["after"])
    assert scorer.batches == [["first"], ["after"]]
    batched.close()


async def test_more_calls_than_may_wait_are_refused() -> None:
    scorer = SlowScorer()
    batched = BatchedScorer(scorer, max_waiting=2)
    calls = [asyncio.create_task(batched.score(["first"]))]
    await entered(scorer)
    calls += [asyncio.create_task(batched.score([f"{n}"])) for n in range(2)]
    await asyncio.sleep(0.01)
    with pytest.raises(ScorerOverloaded):
        await batched.score(["one too many"])
    scorer.gate.set()
    await asyncio.gather(*calls)
    batched.close()


async def test_the_event_loop_runs_on_while_a_batch_is_scored() -> None:
    scorer = SlowScorer()
    batched = BatchedScorer(scorer)
    call = asyncio.create_task(batched.score(["text"]))
    await entered(scorer)
    await asyncio.sleep(0.01)
    assert not call.done()
    scorer.gate.set()
    await call
    batched.close()


async def test_a_text_scored_before_is_not_scored_again_and_cannot_be_changed_by_its_reader() -> None:
    scorer = SlowScorer()
    scorer.gate.set()
    batched = BatchedScorer(scorer, remembered=2)
    rows = await batched.score(["a", "bb"])
    rows[0]["length"] = 9.0
    assert (await batched.score(["a", "bb"])) == [{"length": 1 / 1_000}, {"length": 2 / 1_000}]
    assert scorer.batches == [["a", "bb"]]
    await batched.score(["ccc"])
    await batched.score(["a"])
    assert scorer.batches[1:] == [["ccc"], ["a"]], "only the last two are kept"
    batched.close()


async def test_a_failed_text_is_not_remembered() -> None:
    scorer = SlowScorer()
    scorer.gate.set()
    batched = BatchedScorer(scorer)
    for _ in range(2):
        with pytest.raises(ScorerError):
            await batched.score(["poison"])
    assert len(scorer.batches) == 2
    batched.close()


async def test_a_scorer_that_returns_too_little_fails() -> None:
    class Short(SlowScorer):
        def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
            return []

    batched = BatchedScorer(Short())
    with pytest.raises(ValueError, match="0 rows for 1 texts"):
        await batched.score(["text"])
    batched.close()


async def test_closing_the_pool_stops_waiting_and_later_calls() -> None:
    scorer = SlowScorer()
    pool = ScorerPool(lambda name: scorer)
    first = asyncio.create_task(pool.score("slow", ["first"]))
    await entered(scorer)
    waiting = asyncio.create_task(pool.score("slow", ["waiting"]))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(asyncio.to_thread(pool.close))
    with pytest.raises(ScorerStopped):
        await waiting
    scorer.gate.set()
    await first
    await closing
    with pytest.raises(ScorerStopped):
        await pool.score("slow", ["later"])


def test_a_scorer_is_loaded_once(scorer_double: type) -> None:
    loaded: list[str] = []

    def load(name: str) -> Scorer:
        loaded.append(name)
        return scorer_double(name, ("harm",), "HARM")  # type: ignore[no-any-return]

    pool = ScorerPool(load)
    assert pool.scorer("triage") is pool.scorer("triage")
    pool.warm_up("triage")
    assert loaded == ["triage"]
    pool.close()
