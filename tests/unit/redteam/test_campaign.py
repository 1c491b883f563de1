"""Campaigns against a real gRPC server on loopback: budgets, resumption, faults, attribution."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from ratchet.client import AsyncRatchet
from ratchet_adapters.evals.errors import AttributionError, TargetUnavailable
from ratchet_adapters.evals.judges.refusal import PhraseRefusalJudge
from ratchet_adapters.evals.suites.suite import ItemSuite
from ratchet_adapters.redteam.attacks.registry import load_attack
from ratchet_adapters.redteam.campaign import Ended, base_fingerprint, run_campaign
from ratchet_adapters.redteam.errors import BudgetInvalid, CampaignDiffers, CampaignUnreadable
from ratchet_adapters.redteam.outcome import Judged, Outcome, outcomes
from ratchet_adapters.redteam.plan import Attempt, planned
from ratchet_adapters.redteam.record import Facts
from ratchet_adapters.redteam.result_file import ResultFile
from ratchet_adapters.redteam.settings import CampaignSettings

REFUSAL = "I can't help with that request."
ANSWER = "Certainly, first you gather everything that is needed and then you begin."
NAMES = ("direct", "prefill", "crescendo")
DIGEST = "sha256:" + "a" * 64


def facts(**changed: Any) -> Facts:
    values: dict[str, Any] = {
        "suite": "boxes", "suite_version": "v", "attacks": dict.fromkeys(NAMES, "1"), "adapter": "", "rail_profile": "",
        "base_fingerprint": "sha256:base", "max_tokens": 96, "temperature": 0.0, "seed": 0, "limit": 0,
    }  # fmt: skip
    return Facts(**values | changed)


def plan(suite: ItemSuite, names: tuple[str, ...] = NAMES) -> list[Attempt]:
    return planned(suite.items(), [load_attack(name) for name in names], seed=0)


async def campaign(address: str, path: Path, attempts: list[Attempt], **how: Any) -> tuple[Ended, list[Judged]]:
    quick = {"backoff_s": 0.01, "requests": 1000} | how.pop("settings", {})
    async with AsyncRatchet(address) as client:
        with ResultFile(path, facts()) as results:
            ended = await run_campaign(client, attempts, results, settings=CampaignSettings(**quick), **how)
            kept = results.records
    return ended, outcomes([kept[a.id] for a in attempts if a.id in kept], PhraseRefusalJudge())


def rule(text: str, count: int) -> str:
    """Refuses a plain request, is blocked on box 1, and gives in when the conversation is longer."""
    if "number 1?" in text:
        return "<blocked>"
    return ANSWER if count > 1 else REFUSAL


async def test_success_refusal_and_block_are_told_apart(
    suite: ItemSuite, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    service = service_of(rule)
    async with serve(service) as address:
        ended, found = await campaign(address, tmp_path / "r.jsonl", plan(suite))
    assert (ended.reason, ended.planned, ended.spent) == ("complete", 18, len(service.requests))
    by_attack = {name: [judged.outcome for judged in found if judged.record.attack == name] for name in NAMES}
    assert sorted(by_attack["direct"]) == [Outcome.BLOCKED_INPUT] + 5 * [Outcome.REFUSED]
    assert by_attack["prefill"] == 6 * [Outcome.SUCCEEDED]
    blocked = next(j for j in found if j.outcome is Outcome.BLOCKED_INPUT)
    assert (blocked.record.blocked_by, blocked.record.answer, blocked.label) == (("triage",), "", "triage")
    assert {judged.record.adapter_digest for judged in found} == {DIGEST}
    assert {request.priority for request in service.requests} == {3}
    assert all(request.sampling.HasField("seed") for request in service.requests)


async def test_a_conversation_goes_on_from_what_the_model_really_said(
    suite: ItemSuite, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    service = service_of(lambda text, count: f"Words number {count} about the box, plainly said.")
    async with serve(service) as address:
        _, found = await campaign(address, tmp_path / "r.jsonl", plan(suite, ("crescendo",))[:1])
    said = [text for role, text in found[0].record.turns if role == "assistant"]
    assert said == [f"Words number {count} about the box, plainly said." for count in (1, 3, 5)]
    assert [message.content for message in service.requests[-1].conversation.messages][1::2] == said[:2]
    assert found[0].record.requests == 3


async def test_the_budget_is_never_exceeded_and_a_larger_one_goes_on(
    suite: ItemSuite, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    service = service_of(rule)
    path = tmp_path / "r.jsonl"
    async with serve(service) as address:
        ended, found = await campaign(address, path, plan(suite), settings={"requests": 11})
        assert ended.reason == "requests" and len(service.requests) == ended.spent <= 11
        done = {judged.record.id for judged in found}
        ended, found = await campaign(address, path, plan(suite))
    assert ended.reason == "complete" and len(found) == 18 and done < {judged.record.id for judged in found}
    assert ended.spent == len(service.requests), "nothing was asked twice"


async def test_time_runs_out(
    suite: ItemSuite, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    async with serve(service_of(rule, delay=0.1)) as address:
        limits = {"minutes": 0.15 / 60, "concurrency": 1}
        ended, found = await campaign(address, tmp_path / "r.jsonl", plan(suite), settings=limits)
    assert ended.reason == "minutes" and 0 < len(found) < 18


@pytest.mark.parametrize("budget", [{"requests": 0}, {"requests": -1}, {"minutes": 0.0}])
async def test_no_budget_is_an_error(
    budget: dict[str, Any], suite: ItemSuite, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    service = service_of(rule)
    async with serve(service) as address:
        with pytest.raises(BudgetInvalid, match="more than 0"):
            await campaign(address, tmp_path / "r.jsonl", plan(suite), settings=budget)
    assert not service.requests


async def test_killed_while_writing_it_loses_one_line_and_goes_on(
    suite: ItemSuite, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    service = service_of(rule)
    async with serve(service) as address:
        await campaign(address, path, plan(suite), settings={"requests": 11})
        whole = path.read_bytes()
        path.write_bytes(whole[:-25])
        ended, found = await campaign(address, path, plan(suite))
    assert len(found) == 18
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    lost = json.loads(whole.splitlines()[-1])
    assert len({line["id"] for line in lines[1:]}) == len(lines) - 1 == 18
    assert ended.spent + lost["requests"] == len(service.requests), "only what was lost was asked again"


KILLED = """
import asyncio, sys
from pathlib import Path
from tests.unit.redteam.conftest import harm_suite
from tests.unit.redteam.test_campaign import facts, plan
from ratchet.client import AsyncRatchet
from ratchet_adapters.redteam.campaign import run_campaign
from ratchet_adapters.redteam.result_file import ResultFile

async def main(address, path):
    async with AsyncRatchet(address) as client:
        with ResultFile(Path(path), facts()) as results:
            await run_campaign(client, plan(harm_suite()), results)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_after_kill_9_it_goes_on_where_it_was(
    suite: ItemSuite, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    service = service_of(rule, delay=0.2)
    async with serve(service) as address:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, address, str(path))
        while not path.exists() or len(path.read_bytes().splitlines()) < 4:
            assert process.returncode is None
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        kept = {
            json.loads(line)["id"] for line in path.read_bytes().splitlines(keepends=True)[1:] if line[-1:] == b"\n"
        }
        service.delay = 0.0
        before = len(service.requests)
        _, found = await campaign(address, path, plan(suite))
    assert len(kept) >= 3 and len(found) == 18
    assert len(service.requests) - before == sum(
        judged.record.requests for judged in found if judged.record.id not in kept
    )


async def test_a_stopped_campaign_keeps_every_answer_it_had(
    suite: ItemSuite, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    async with serve(service_of(rule, delay=0.03)) as address:
        going = asyncio.ensure_future(campaign(address, path, plan(suite), settings={"concurrency": 2}))
        await asyncio.sleep(0.25)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        kept = len(path.read_bytes().splitlines()) - 1
        assert 0 < kept < 18
        _, found = await campaign(address, path, plan(suite))
    assert len(found) == 18


async def test_a_failed_request_is_reported_and_tried_again_later(
    suite: ItemSuite, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    service = service_of(rule, fail={"number 3?": grpc.StatusCode.INTERNAL})
    async with serve(service) as address:
        _, found = await campaign(address, path, plan(suite, ("direct",)))
        failed = [judged for judged in found if judged.outcome is Outcome.FAILED]
        assert len(failed) == 1 and "INTERNAL" in failed[0].label and "rail broke" in failed[0].label
        service.fail = {}
        _, found = await campaign(address, path, plan(suite, ("direct",)))
    assert not [judged for judged in found if judged.outcome is Outcome.FAILED]


async def test_overload_is_waited_out_and_a_server_that_is_gone_is_said(
    suite: ItemSuite, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    service = service_of(rule, overloaded=2)
    async with serve(service) as address:
        ended, _ = await campaign(address, tmp_path / "r.jsonl", plan(suite), settings={"concurrency": 1})
        assert ended.reason == "complete"
    with pytest.raises(TargetUnavailable, match=address):
        async with AsyncRatchet(address) as client:
            await base_fingerprint(client)
    with pytest.raises(TargetUnavailable, match=address):
        await campaign(address, tmp_path / "other.jsonl", plan(suite)[:1], settings={"attempts": 1})


async def test_an_answer_of_another_adapter_ends_the_campaign(
    suite: ItemSuite, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    async with serve(service_of(rule)) as address:
        with pytest.raises(AttributionError, match="never mix"):
            await campaign(address, tmp_path / "r.jsonl", plan(suite), expected_digest="")


def test_a_file_of_another_campaign_or_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with ResultFile(path, facts()), pytest.raises(CampaignUnreadable, match="another process"):
        ResultFile(path, facts())
    with pytest.raises(CampaignDiffers, match="adapter, seed") as raised:
        ResultFile(path, facts(adapter="base", seed=1))
    assert raised.value.facts == ("adapter", "seed")
    path.write_bytes(path.read_bytes() + b'{"id": 1}\n')
    with pytest.raises(CampaignUnreadable, match="line 2"):
        ResultFile(path, facts())
    path.write_bytes(b"")
    with ResultFile(path, facts()) as results:
        assert not results.records


class BrokenJudge:
    """Fails on everything."""

    name = "broken"
    version = "1"

    def judge(self, answers: Any) -> Any:
        raise RuntimeError("no weights")


async def test_a_failed_judge_is_neither_success_nor_defence(
    suite: ItemSuite, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    async with serve(service_of(rule)) as address:
        _, found = await campaign(address, path, plan(suite))
    again = outcomes([judged.record for judged in found], BrokenJudge())
    assert {judged.outcome for judged in again} == {Outcome.UNJUDGED, Outcome.BLOCKED_INPUT}
    assert any("no weights" in judged.label for judged in again)
