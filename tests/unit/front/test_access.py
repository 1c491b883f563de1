"""Keys, tokens and roles over real connections, with a real registry: what opens, and what is written down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import openai
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.front.conftest import Serve

from ratchet.client import PermissionDenied, Ratchet, Unauthenticated, Unavailable
from ratchet.client.errors import from_rpc_error
from ratchet.v1 import adapter_pb2, feedback_pb2, inference_pb2
from ratchet_adapters.access import KeyNotFound, KeyRevoked, KeyStore, NewKey
from ratchet_adapters.flags import Exchange, FlagStore, Message
from ratchet_adapters.registry import Registry, RegistryUnavailable
from ratchet_server.access.errors import KeySetUnavailable
from ratchet_server.access.errors import Unauthenticated as AccessUnauthenticated
from ratchet_server.access.identity import Credentials, Identity, Role
from ratchet_server.access.opening import open_door
from ratchet_server.access.settings import AccessSettings, TokenSettings
from ratchet_server.access.tokens import TokenAuthenticator
from ratchet_server.rpc.feedback import FeedbackService


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(f"sqlite:///{tmp_path}/r.db") as registry:
        yield registry


@pytest.fixture
def keys(registry: Registry) -> KeyStore:
    return KeyStore.open(registry)


def _settings(**options: Any) -> AccessSettings:
    return AccessSettings(required=True, cache_seconds=0, **options)


def _key(keys: KeyStore, name: str, *roles: str, **grant: Any) -> str:
    return keys.create(NewKey(name, roles, **grant), "root")[1]


def test_a_key_is_kept_as_a_hash_and_its_life_is_in_the_ledger(registry: Registry, keys: KeyStore) -> None:
    first, plain = keys.create(NewKey("shop", ("app",), "shop"), "root")
    second, other = keys.rotate(first.id, "root", grace=timedelta(hours=1))
    keys.revoke(second.id, "root")
    stored = json.dumps([str(key) for key in keys.all()]) + json.dumps([e.payload for e in registry.ledger()])
    assert plain[16:] not in stored and other[16:] not in stored
    assert [e.kind for e in registry.ledger()] == ["key.created", "key.rotated", "key.revoked"]
    assert registry.verify_ledger().ok
    assert keys.key(first.id).opens(datetime.now(UTC)) and not keys.key(second.id).opens(datetime.now(UTC))
    assert not keys.key(first.id).opens(datetime.now(UTC) + timedelta(hours=2))
    with pytest.raises(KeyRevoked):
        keys.rotate(second.id, "root")
    with pytest.raises(KeyNotFound):
        keys.revoke("nope", "root")


async def test_both_protocols_ask_for_the_same_key(serve: Serve, keys: KeyStore) -> None:
    ident, plain = keys.create(NewKey("shop", ("app",), "shop", on_behalf=True), "root")
    async with serve(door=open_door(_settings(), keys)) as served:
        forged = plain[:-1] + ("A" if plain[-1] != "A" else "B")
        for wrong in ("", forged, "rk_0123456789ab_" + "A" * 43, "hello", "a.b.c"):
            async with served.client(api_key=wrong) as client:
                with pytest.raises(Unauthenticated):
                    await client.generate("Hi", timeout=5)
                with pytest.raises(Unauthenticated):
                    await anext(client.stream("Hi", timeout=5))
            async with served.openai(wrong or "none") as api:
                with pytest.raises(openai.AuthenticationError) as caught:
                    await api.chat.completions.create(model="ratchet", messages=[{"role": "user", "content": "Hi"}])
                assert caught.value.code == "invalid_api_key"
                with pytest.raises(openai.AuthenticationError):
                    await api.models.list()
        assert served.script.asked == []
        async with served.client(api_key=plain) as client, served.openai(plain) as api:
            await client.generate("Hi", principal="ann", tenant="another", timeout=5)
            await api.chat.completions.create(
                model="ratchet", messages=[{"role": "user", "content": "Hi"}], user="ann", extra_body={"tenant": "x"}
            )
            assert {(r.principal, r.tenant) for r in served.script.asked} == {("shop/ann", "shop")}
            keys.revoke(ident.id, "root")
            with pytest.raises(Unauthenticated, match="revoked"):
                await client.generate("Hi", timeout=5)


def test_the_blocking_client_sends_its_key_too(serve: Serve, keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setenv("RATCHET_API_KEY", _key(keys, "shop", "app", tenant="shop"))

    async def run() -> None:
        async with serve(door=open_door(_settings(), keys)) as served:

            def ask() -> None:
                with Ratchet(served.address) as client:
                    assert client.generate("Hi", timeout=5).text == "Paris is it."
                    assert len(list(client.stream("Hi", timeout=5))) == 4

            await asyncio.to_thread(ask)

    asyncio.run(run())


async def test_what_a_role_may_not_do_is_refused_and_written_down(
    serve: Serve, registry: Registry, keys: KeyStore
) -> None:
    shop = _key(keys, "shop", "app", tenant="shop")
    async with serve(door=open_door(_settings(), keys)) as served, served.client(api_key=shop) as client:
        for call, request in (
            (client.adapters.Rollback, adapter_pb2.RollbackRequest(actor="root")),
            (client.feedback.ListFlags, feedback_pb2.ListFlagsRequest()),
        ):
            with pytest.raises(Exception, match="may not") as caught:
                await call(request, timeout=5)
            assert isinstance(from_rpc_error(caught.value), PermissionDenied)  # type: ignore[arg-type]
    refused = [e for e in registry.ledger() if e.kind == "call.refused"]
    assert [(e.actor, e.payload["call"].rpartition("/")[2]) for e in refused] == [
        ("shop", "Rollback"), ("shop", "ListFlags"),
    ]  # fmt: skip


async def test_an_admin_call_is_in_the_ledger_before_it_is_carried_out(
    serve: Serve, registry: Registry, keys: KeyStore
) -> None:
    seen: list[str] = []

    class Adapters:
        async def Rollback(self, request: adapter_pb2.RollbackRequest, context: object) -> object:
            seen.append(request.actor)
            seen.extend(e.kind for e in registry.ledger() if e.kind == "call.made")
            return adapter_pb2.RollbackResponse()

        def __getattr__(self, name: str) -> None: ...

    key = _key(keys, "olga", "ops")
    door = open_door(_settings(), keys)
    async with serve(door=door, adapters=Adapters()) as served, served.client(api_key=key) as client:
        await client.adapters.Rollback(adapter_pb2.RollbackRequest(actor="mallory"), timeout=5)
        assert seen == ["olga", "call.made"]
    entry = registry.ledger()[-1]
    assert (entry.actor, entry.payload["roles"]) == ("olga", ["ops"]) and entry.payload["credential"].startswith("key ")


async def test_a_call_that_cannot_be_written_down_is_not_carried_out_and_serving_goes_on(
    serve: Serve, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, stranger = _key(keys, "olga", "ops"), _key(keys, "new", "app")

    def down(*args: object) -> None:
        raise RegistryUnavailable("sqlite://", "disk on fire")

    async with serve(door=open_door(_settings(), keys)) as served, served.client(api_key=key) as client:
        await client.generate("Hi", timeout=5)
        monkeypatch.setattr(keys, "log_call", down)
        monkeypatch.setattr(keys, "key", down)
        with pytest.raises(Exception, match="disk on fire") as caught:
            await client.adapters.Rollback(adapter_pb2.RollbackRequest(), timeout=5)
        assert isinstance(from_rpc_error(caught.value), Unavailable)  # type: ignore[arg-type]
        # A key that was seen still opens; one that never was does not.
        await client.generate("Hi", timeout=5)
        async with served.openai(stranger) as api:
            with pytest.raises(openai.InternalServerError, match="disk on fire"):
                await api.models.list()


async def test_a_tenant_sees_and_flags_its_own_exchanges_only(serve: Serve, registry: Registry, keys: KeyStore) -> None:
    store = FlagStore.open(registry)
    now = datetime.now(UTC)
    store.save_exchanges(
        [
            Exchange(f"at-{tenant}", (Message("user", "Hi"),), "Hello", "", tenant, "ann", {}, (), "stop", now)
            for tenant in ("shop", "bank")
        ]
    )

    class Written:
        async def flushed(self) -> None: ...

    class Uncounted:
        def flag(self, kind: str, source: str) -> None: ...

    feedback = FeedbackService(store, Written(), Uncounted())  # type: ignore[arg-type]
    app, reviewer = _key(keys, "shop-app", "app", tenant="shop"), _key(keys, "rita", "reviewer", tenant="shop")
    other = _key(keys, "bank-reviewer", "reviewer", tenant="bank")
    nobodys = _key(keys, "without-tenant", "app")
    async with serve(door=open_door(_settings(), keys), feedback=feedback) as served:
        async with served.client(api_key=nobodys) as client:
            flag = feedback_pb2.SubmitFlagRequest(kind=feedback_pb2.FLAG_KIND_OTHER, request_id="at-shop")
            with pytest.raises(Exception, match="no served exchange"):
                await client.feedback.SubmitFlag(flag, timeout=5)
        async with served.client(api_key=app) as client:
            for request_id, fits in (("at-shop", True), ("at-bank", False)):
                flag = feedback_pb2.SubmitFlagRequest(
                    kind=feedback_pb2.FLAG_KIND_OTHER, request_id=request_id, principal="someone-else"
                )
                if fits:
                    flag_id = (await client.feedback.SubmitFlag(flag, timeout=5)).flag_id
                else:
                    with pytest.raises(Exception, match="no served exchange"):
                        await client.feedback.SubmitFlag(flag, timeout=5)
        review = feedback_pb2.ReviewFlagRequest(
            flag_id=flag_id, decision=feedback_pb2.REVIEW_DECISION_ACCEPT, reviewer="somebody"
        )
        async with served.client(api_key=other) as client:
            assert not (await client.feedback.ListFlags(feedback_pb2.ListFlagsRequest(), timeout=5)).flags
            with pytest.raises(Exception, match="no flag"):
                await client.feedback.ReviewFlag(review, timeout=5)
        async with served.client(api_key=reviewer) as client:
            (flag,) = (await client.feedback.ListFlags(feedback_pb2.ListFlagsRequest(), timeout=5)).flags
            assert (flag.principal, flag.tenant) == ("shop-app", "shop")
            assert (await client.feedback.ReviewFlag(review, timeout=5)).flag.reviewer == "rita"


class Provider:
    """An identity provider: a key set in a file, and tokens signed with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.turn(1)

    def turn(self, number: int) -> None:
        """Publish another key instead."""
        self.ident, self.private = f"k{number}", ec.generate_private_key(ec.SECP256R1())
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key()))
        scratch = self.path.with_suffix(".part")
        scratch.write_text(json.dumps({"keys": [{**public, "kid": self.ident, "use": "sig", "alg": "ES256"}]}))
        scratch.replace(self.path)

    def token(self, **claims: Any) -> str:
        now = int(time.time())
        said = {
            "iss": "https://id",
            "aud": "ratchet",
            "sub": "rita",
            "exp": now + 60,
            "roles": ["safety-team"],
        } | claims
        said = {k: v for k, v in said.items() if v is not None}
        return jwt.encode(said, self.private, algorithm="ES256", headers={"kid": self.ident})


async def test_a_token_opens_what_its_roles_open_and_a_wrong_one_nothing(
    serve: Serve, keys: KeyStore, tmp_path: Path
) -> None:
    provider = Provider(tmp_path / "jwks.json")
    tokens = {
        "jwks_file": provider.path, "issuer": "https://id", "audience": "ratchet",
        "roles": {"safety-team": "app"}, "roles_claim": "roles", "leeway_seconds": 0,
    }  # fmt: skip
    door = open_door(_settings(tokens=tokens), keys)

    async with serve(door=door) as served:

        async def ask(token: str) -> inference_pb2.GenerateResponse:
            async with served.client(api_key=token) as client:
                request = inference_pb2.GenerateRequest(prompt="Hi", principal="x")
                return await client.inference.Generate(request, timeout=5)

        await ask(provider.token(tenant="shop"))
        assert (served.script.asked[-1].principal, served.script.asked[-1].tenant) == ("rita", "shop")
        old = provider.token()
        now = int(time.time())
        unsigned = jwt.encode({"sub": "rita", "iss": "https://id", "aud": "ratchet"}, "", algorithm="none")
        shared = jwt.encode({"iss": "https://id", "aud": "ratchet", "exp": now + 60}, "s" * 32, algorithm="HS256")
        for wrong in (
            provider.token(exp=now - 1), provider.token(exp=None), provider.token(aud="another"),
            provider.token(iss="https://evil"), provider.token(sub=None), old[:-4] + "AAAA", unsigned, shared,
        ):  # fmt: skip
            with pytest.raises(Exception, match="UNAUTHENTICATED"):
                await ask(wrong)
        for roles in ([], ["root"], "reviewer", None, 7):
            with pytest.raises(Exception, match="PERMISSION_DENIED"):
                await ask(provider.token(roles=roles))
        provider.turn(2)
        await ask(provider.token())
        with pytest.raises(Exception, match="UNAUTHENTICATED"):
            await ask(old)


class Published(BaseHTTPRequestHandler):
    """Hands out a key set, and counts how often."""

    path_of_keys: Path
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path_of_keys.read_bytes())

    def log_message(self, *args: object) -> None: ...


async def test_a_key_set_behind_an_address_is_fetched_when_needed_and_no_more(tmp_path: Path) -> None:
    provider = Provider(tmp_path / "jwks.json")
    Published.path_of_keys = provider.path
    with HTTPServer(("127.0.0.1", 0), Published) as published:
        thread = threading.Thread(target=published.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{published.server_port}/"
        given = TokenSettings(jwks_url=url, issuer="https://id", audience="ratchet", roles={"safety-team": Role.APP})
        tokens = TokenAuthenticator(given)

        async def identify(token: str) -> Identity | None:
            return await tokens.identify(Credentials(f"Bearer {token}"))

        known = await identify(provider.token())
        assert known is not None and known.roles == {Role.APP}
        provider.turn(2)
        assert await identify(provider.token()) is not None
        provider.turn(3)
        for _ in range(20):
            with pytest.raises(AccessUnauthenticated):
                await identify(provider.token())
        assert Published.asked == 2
        published.shutdown()
    with pytest.raises(KeySetUnavailable):
        await TokenAuthenticator(given).identify(Credentials(f"Bearer {provider.token()}"))
