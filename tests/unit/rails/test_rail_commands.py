"""`ratchet rails` as people use it: folders checked and tested without a server, profiles reloaded on a real one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from typer.testing import CliRunner

from ratchet.cli import rails as client_commands
from ratchet.client import AsyncRatchet
from ratchet.v1 import (
    adapter_pb2_grpc,
    common_pb2,
    engine_pb2_grpc,
    feedback_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    learning_pb2_grpc,
)
from ratchet.v1 import rails_pb2 as pb
from ratchet_server.access.door import Door
from ratchet_server.cli import rails as folder_commands
from ratchet_server.rails.loading import SHIPPED_PROFILES, ProfileLoader
from ratchet_server.rails.scoring import ScorerPool
from ratchet_server.rpc.rails import RailService
from ratchet_server.rpc.server import RpcServer, Servicers
from ratchet_server.rpc.settings import RpcSettings

CONFIG = """\
rails:
  output: {flows: [regex check output]}
  config: {regex_detection: {output: {patterns: [alpha]}}}
"""


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    folder = tmp_path / "profiles" / "bank"
    folder.mkdir(parents=True)
    (folder / "config.yml").write_text(CONFIG)
    return folder


async def run(app: typer.Typer, *arguments: str) -> Any:
    # In a thread: the commands have event loops of their own.
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env={"COLUMNS": "400"})


@pytest.fixture
def offline() -> typer.Typer:
    app = typer.Typer()
    folder_commands.add_commands(app)
    return app


async def test_check_names_the_line_and_the_remedy(offline: typer.Typer, bank: Path) -> None:
    good = await run(offline, "check", str(bank))
    assert (good.exit_code, "regex check output" in good.output) == (0, True)
    (bank / "config.yml").write_text(CONFIG.replace("patterns", "paterns"))
    bad = await run(offline, "check", str(bank.parent))
    assert bad.exit_code == 1
    assert f"{bank / 'config.yml'}:3" in bad.output
    assert "Did you mean 'patterns'?" in bad.output
    document = json.loads((await run(offline, "check", str(bank), "--json")).output)
    (problem,) = document["problems"]
    assert (document["ok"], problem["line"]) == (False, 3)
    assert problem["key"] == "rails.config.regex_detection.output.paterns"


async def test_check_passes_the_shipped_profiles_and_refuses_what_is_none(offline: typer.Typer, tmp_path: Path) -> None:
    assert (await run(offline, "check", str(SHIPPED_PROFILES))).exit_code == 0
    for folder in (tmp_path / "nowhere", tmp_path):
        refused = await run(offline, "check", str(folder))
        assert (refused.exit_code, refused.exception.__class__) == (1, SystemExit)


async def test_test_says_which_case_fails_and_where(offline: typer.Typer, bank: Path) -> None:
    cases = bank.parent / "more.yaml"
    cases.write_text(
        "cases:\n  - {prompt: hi, answer: alpha, expect: block}\n  - {prompt: hi, answer: beta, expect: block}\n"
    )
    tested = await run(offline, "test", str(bank), str(cases))
    assert tested.exit_code == 1
    assert f"{cases}:3" in tested.output
    assert "1 of 2 cases passed" in tested.output
    cases.write_text("cases:\n  - {prompt: hi, answer: alpha, expect: block}\n")
    assert (await run(offline, "test", str(bank), str(cases))).exit_code == 0
    assert (await run(offline, "test", str(bank))).exit_code == 1, "no cases is no success"


async def test_list_shows_what_can_be_listed_and_which_fail_closed(offline: typer.Typer) -> None:
    usable = {(each["flow"], each["direction"]) for each in json.loads((await run(offline, "list", "--json")).output)}
    assert {("regex check input", "input"), ("ratchet toxicity output", "output")} <= usable
    everything = json.loads((await run(offline, "list", "--json", "--all")).output)
    assert {each["flow"] for each in everything if not each["fails_closed"]} >= {"jailbreak detection model"}


class Saying(inference_pb2_grpc.InferenceServiceServicer):
    """A server's engine that finds harm where a prompt names it."""

    asked: list[inference_pb2.GenerateRequest] = []  # noqa: RUF012 - of the one server of a test

    async def Generate(self, request: inference_pb2.GenerateRequest, context: Any) -> inference_pb2.GenerateResponse:
        self.asked.append(request)
        harmful = "HARM" in request.conversation.messages[-1].content
        return inference_pb2.GenerateResponse(
            text="Yes" if harmful else "No", finish_reason=inference_pb2.FINISH_REASON_STOP
        )


@pytest.fixture
async def server(bank: Path, pool: ScorerPool) -> AsyncIterator[str]:
    loader = ProfileLoader(bank.parent, scorers=pool, default="bank")
    await loader.start()
    rpc = RpcServer(
        RpcSettings(port=0),
        Servicers(
            Saying(),
            adapter_pb2_grpc.AdapterServiceServicer(),
            feedback_pb2_grpc.FeedbackServiceServicer(),
            learning_pb2_grpc.LearningServiceServicer(),
            engine_pb2_grpc.EngineServiceServicer(),
            rails=RailService(loader),
        ),
        Door(),
    )
    await rpc.start()
    yield f"127.0.0.1:{rpc.port}"
    await rpc.stop()


async def test_profiles_are_listed_reloaded_and_asked_over_the_wire(server: str, bank: Path) -> None:
    listed = json.loads((await run(client_commands.app, "profiles", "--json", "--address", server)).output)
    (default,) = [profile for profile in listed["profiles"] if profile["default"]]
    assert (default["name"], default["output_rails"]) == ("bank", ["regex check output"])

    (bank / "config.yml").write_text(CONFIG.replace("alpha", "beta"))
    swapped = await run(client_commands.app, "reload", "bank", "--address", server)
    assert (swapped.exit_code, "swapped" in swapped.output) == (0, True)

    blocked = await run(client_commands.app, "judge", "hi", "--answer", "say beta", "--address", server, "--json")
    (verdict,) = json.loads(blocked.output)["verdicts"]
    assert (blocked.exit_code, verdict["reason"]) == (1, "output pattern 0 matched")
    for_people = await run(client_commands.app, "judge", "hi", "--answer", "say beta", "--address", server)
    assert (for_people.exit_code, "BLOCK by bank" in for_people.output) == (1, True)
    passed = await run(client_commands.app, "judge", "hi", "--answer", "say alpha", "--address", server)
    assert passed.exit_code == 0

    (bank / "config.yml").write_text("rails: {outputs: {}}")
    rejected = await run(client_commands.app, "reload", "bank", "--address", server)
    assert rejected.exit_code == 1
    assert "config.yml:1" in rejected.output
    async with AsyncRatchet(server) as client:
        response = await client.rails.CheckText(
            pb.CheckTextRequest(
                messages=[inference_pb2.Message(role=inference_pb2.ROLE_USER, content="hi")], answer="beta"
            )
        )
        assert response.outcome == common_pb2.OUTCOME_BLOCK
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await client.rails.ReloadProfiles(pb.ReloadProfilesRequest(names=["nobody"]))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as invalid:
            await client.rails.CheckText(pb.CheckTextRequest())
        assert invalid.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_rails_that_ask_a_model_are_tested_on_a_servers_engine_without_its_rails(
    offline: typer.Typer, server: str, bank: Path
) -> None:
    asking = bank.parent.parent / "asking"
    asking.mkdir()
    (asking / "config.yml").write_text(
        "models: [{type: main, engine: ratchet, model: guard}]\nrails: {input: {flows: [self check input]}}\n"
        "prompts: [{task: self_check_input, content: '{{ user_input }}'}]\n"
    )
    (asking / "cases.yaml").write_text("cases: [{prompt: HARM, expect: block}, {prompt: hello, expect: allow}]")
    refused = await run(offline, "test", str(asking))
    assert (refused.exit_code, Saying.asked) == (1, [])
    passed = await run(offline, "test", str(asking), "--address", server, "--json")
    assert (passed.exit_code, json.loads(passed.stdout)["passed"]) == (0, 2)
    assert {(request.adapter, request.rail_profile) for request in Saying.asked} == {("guard", "off")}
