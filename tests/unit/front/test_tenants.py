"""Tenants' policies, limits and the queue, over real connections: what is filled in, refused, and in which order."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.front.conftest import Script, Serve

from ratchet.client import DeadlineExceeded, InvalidRequest, Overloaded, PermissionDenied, chat_request
from ratchet.client.errors import from_rpc_error
from ratchet_server.access.door import Door
from ratchet_server.access.identity import Credentials, Identity, Role
from ratchet_server.serving import admission
from ratchet_server.serving.admission import Admission
from ratchet_server.serving.entrance import Entrance
from ratchet_server.tenants.settings import TenantPolicy, TenantsSettings


class Everybody:
    """Takes everybody's word for an app of a tenant, or for ops: "Bearer shop"."""

    async def identify(self, credentials: Credentials) -> Identity | None:
        name = credentials.authorization.removeprefix("Bearer ")
        return Identity(name, frozenset({Role.OPS if name == "ops" else Role.APP}), "" if name == "ops" else name)


DOOR = Door([Everybody()], required=True)


def _entrance(script: Script, seats: int = 8, queued: int = 8, **policy: Any) -> Entrance:
    tenants = TenantsSettings(named={"shop": TenantPolicy(**policy)})
    return Entrance(script, Admission(seats, queued), tenants)


async def test_a_policy_fills_in_what_the_caller_may_not_choose(serve: Serve) -> None:
    script = Script()
    path = _entrance(script, rail_profile="shop-rails", system_prompt="You sell shoes.", max_tokens=10)
    async with serve(script, path=path, door=DOOR) as served, served.client(api_key="shop") as client:
        await client.generate("Hi", max_tokens=200, timeout=5)
        own = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        await client.generate(own, rail_profile="shop-rails", timeout=5)
        first, second = script.asked
        assert [(m.role, m.content) for m in first.messages] == [("system", "You sell shoes."), ("user", "Hi")]
        assert (first.profile, first.sampling.max_tokens) == ("shop-rails", 10)
        assert second.messages[0].content == "You sell shoes.\n\nBe brief."
        assert first.deadline is not None and 0 < first.deadline <= 5


async def test_a_policy_is_a_wall_for_apps_and_none_for_ops(serve: Serve) -> None:
    script = Script()
    path = _entrance(script, adapters={"champion", "sha256:ab"}, own_system_prompt=False, max_prompt_chars=40)
    async with serve(script, path=path, door=DOOR, models=lambda: list(filter(path.may_ask_for, MODELS))) as served:
        system = [{"role": "system", "content": "x"}, {"role": "user", "content": "Hi"}]
        forbidden: list[tuple[Any, dict[str, Any], type[Exception]]] = [
            ("Hi", {"rail_profile": "off"}, PermissionDenied),
            ("Hi", {"adapter": "base"}, PermissionDenied),
            ("Hi", {"adapter": "previous"}, PermissionDenied),
            ("Hi", {"priority": "evaluation"}, PermissionDenied),
            (system, {}, PermissionDenied),
            ("x" * 41, {}, InvalidRequest),
        ]
        for name in ("shop", "ops"):
            async with served.client(api_key=name) as client:
                for prompt, options, error in forbidden:
                    if name == "ops":
                        await client.generate(prompt, timeout=5, **options)
                        continue
                    with pytest.raises(error):
                        await client.generate(prompt, timeout=5, **options)
                    with pytest.raises(error):
                        await anext(client.stream(prompt, timeout=5, **options))
                if name == "shop":
                    assert script.asked == []
                await client.generate("Hi", adapter="sha256:ab", timeout=5)
        async with served.openai("shop") as api, served.openai("ops") as all_of_it:
            assert [m.id async for m in api.models.list()] == ["champion"]
            assert [m.id async for m in all_of_it.models.list()] == MODELS
            with pytest.raises(openai.PermissionDeniedError, match="rail profile 'off'"):
                await api.chat.completions.create(
                    model="ratchet", messages=[{"role": "user", "content": "Hi"}], extra_body={"rail_profile": "off"}
                )


MODELS = ["champion", "base"]


async def test_a_tenant_over_its_limit_is_told_when_to_come_back_on_both_protocols(serve: Serve) -> None:
    script = Script()
    path = _entrance(script, requests_per_minute=3)
    async with serve(script, path=path, door=DOOR) as served, served.client(api_key="shop") as client:
        for _ in range(3):
            await client.generate("Hi", timeout=5)
        with pytest.raises(Overloaded, match="3 requests a minute") as caught:
            await client.generate("Hi", timeout=5)
        assert caught.value.retry_after is not None and 30 < caught.value.retry_after <= 60
        async with served.openai("shop") as api:
            with pytest.raises(openai.RateLimitError) as limited:
                await api.chat.completions.create(model="ratchet", messages=[{"role": "user", "content": "Hi"}])
            assert limited.value.code == "rate_limit_exceeded"
            assert 30 < int(limited.value.response.headers["retry-after"]) <= 60
        async with served.client(api_key="another") as other:
            await other.generate("Hi", timeout=5)


class Turns(asyncio.Event):
    """A gate that lets one word through for each turn."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self._turns = asyncio.Semaphore(turns)

    async def wait(self) -> Any:
        await self._turns.acquire()


async def test_tokens_are_counted_by_what_was_used_and_held_for_what_never_ended(serve: Serve) -> None:
    script = Script(gate=Turns(4 * 3 + 1))
    path = _entrance(script, tokens_per_minute=100)
    async with serve(script, path=path, door=DOOR) as served, served.client(api_key="shop") as client:
        # Each of them could need 60 and uses 8.
        for _ in range(4):
            await client.generate("Hi", max_tokens=60, timeout=5)
        with pytest.raises(InvalidRequest, match="can need 200 tokens"):
            await client.generate("Hi", max_tokens=200, timeout=5)
        stream = client.stream("Hi", max_tokens=60, timeout=5)
        await anext(stream)
        await stream.aclose()
        while script.running:
            await asyncio.sleep(0.01)
        with pytest.raises(Overloaded, match="100 tokens a minute"):
            await client.generate("Hi", max_tokens=60, timeout=5)


async def test_a_full_queue_turns_the_least_urgent_away(serve: Serve) -> None:
    script = Script(gate=(gate := asyncio.Event()))
    queue = Admission(1, 2)
    path = Entrance(script, queue, TenantsSettings())
    async with serve(script, path=path, door=DOOR) as served, served.client(api_key="ops") as client:

        async def ask(priority: Any) -> str:
            try:
                request = chat_request(priority, priority=priority)
                return (await client.inference.Generate(request, timeout=10)).text
            except grpc.RpcError as error:
                raise from_rpc_error(error) from None

        asking = [asyncio.create_task(ask("interactive"))]
        while not queue.running:
            await asyncio.sleep(0.01)
        for number, priority in enumerate(("evaluation", "batch"), 1):
            asking.append(asyncio.create_task(ask(priority)))
            while queue.waiting < number:
                await asyncio.sleep(0.01)
        urgent = asyncio.create_task(ask("interactive"))
        with pytest.raises(Overloaded) as caught:
            await asking[1]
        assert caught.value.retry_after
        with pytest.raises(Overloaded):
            await ask("batch")
        with pytest.raises(DeadlineExceeded):
            await client.generate("late", priority="interactive", timeout=0.3)
        gate.set()
        await asyncio.gather(asking[0], urgent)
        # The late one had pushed the batch request out.
        await asyncio.gather(asking[2], return_exceptions=True)
        assert [r.messages[0].content for r in script.asked][:2] == ["interactive", "interactive"]
        assert (queue.running, queue.waiting) == (0, 0)


async def test_the_client_waits_when_an_overloaded_server_asks_it_to(serve: Serve) -> None:
    script = Script(gate=(gate := asyncio.Event()))
    path = Entrance(script, Admission(1, 0), TenantsSettings())
    async with serve(script, path=path) as served, served.client() as client:
        first = asyncio.create_task(client.generate("first", timeout=10))
        while not script.running:
            await asyncio.sleep(0.01)
        with pytest.raises(Overloaded):
            # The wait would outlast the caller.
            await client.generate("hasty", timeout=0.5)
        second = asyncio.create_task(client.generate("second", timeout=10))
        await asyncio.sleep(0.1)
        gate.set()
        assert (await first).text == (await second).text == "Paris is it."


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["stay", "leave"])), max_size=20),
    st.integers(1, 3), st.integers(0, 5),
)  # fmt: skip
def test_seats_are_never_lost_and_never_more_than_there_are(
    callers: list[tuple[int, str]], seats: int, queued: int
) -> None:
    async def run() -> None:
        queue, most = Admission(seats, queued), 0

        async def call(priority: int) -> None:
            nonlocal most
            async with queue.seat(priority):
                most = max(most, queue.running)
                assert queue.running <= seats and queue.waiting <= queued
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(call(priority)) for priority, _ in callers]
        for number, (task, (_, how)) in enumerate(zip(tasks, callers, strict=True)):
            if how == "leave":
                if number % 2:
                    await asyncio.sleep(0)
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(r is None or isinstance(r, asyncio.CancelledError | admission.Overloaded) for r in results)
        assert (queue.running, queue.waiting) == (0, 0) and most <= seats

    asyncio.run(run())
