"""The one table of permissions, held against what the servers really offer."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import ratchet.v1
from ratchet.v1 import inference_pb2
from ratchet_server.access.claims import NAMES, replace_claims
from ratchet_server.access.identity import Identity, Role
from ratchet_server.access.permissions import PERMISSIONS, permission
from ratchet_server.http.app import ROUTES

CONTRACT = [
    importlib.import_module(f"ratchet.v1.{m.name}").DESCRIPTOR
    for m in pkgutil.iter_modules(ratchet.v1.__path__)
    if m.name.endswith("_pb2")
]
METHODS = {
    f"/{service.full_name}/{method.name}": method
    for file in (*CONTRACT, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
}


def test_every_call_of_every_service_and_route_has_an_entry_and_nothing_else_has() -> None:
    routes = {f"{method} {path}" for path, method in ROUTES.items()} - {"POST /v1/chat/completions"}
    assert set(PERMISSIONS) == METHODS.keys() | routes


def test_a_call_without_an_entry_is_nobodys() -> None:
    assert permission("/ratchet.v1.AdapterService/Forgotten").roles == frozenset()


def test_only_probes_and_the_contract_are_open_and_every_change_of_state_is_audited() -> None:
    opened = {call for call, allowed in PERMISSIONS.items() if allowed.roles is None}
    assert all(call.startswith(("/grpc.", "GET /health")) for call in opened)
    changes = (
        "Register", "Promote", "Rollback", "Approve", "BeginRollout", "ReviewFlag", "StartRun", "Load", "Unload",
        "ReloadProfiles", "ContainFlags", "EndContainment",
    )  # fmt: skip
    assert {call.rpartition("/")[2] for call, allowed in PERMISSIONS.items() if allowed.audited} == set(changes)


def test_an_app_can_neither_change_what_is_served_nor_read_what_others_said() -> None:
    mine = {call.rpartition("/")[2] for call, a in PERMISSIONS.items() if a.roles and Role.APP in a.roles}
    assert mine == {"Generate", "GenerateStream", "SubmitFlag", "SubmitFlags", "models"}


def test_who_promotes_does_not_approve() -> None:
    approve, promote = (PERMISSIONS[f"/ratchet.v1.AdapterService/{name}"].roles for name in ("Approve", "Promote"))
    assert approve is not None and promote is not None
    assert approve & promote == {Role.ADMIN}


@pytest.mark.parametrize("call", [c for c in METHODS if c.startswith("/ratchet.")])
def test_every_claim_of_every_request_is_replaced(call: str) -> None:
    kind = METHODS[call].input_type._concrete_class
    mallory = Identity("mallory", frozenset({Role.APP}), "acme")

    def fill(message: object, depth: int = 0) -> list[object]:
        found = [message]
        for field in message.DESCRIPTOR.fields:  # type: ignore[attr-defined]
            if field.name in NAMES | {"tenant"}:
                setattr(message, field.name, "alice")
            elif field.message_type and not field.is_repeated and depth < 3:
                inner = getattr(message, field.name)
                inner.SetInParent()
                found += fill(inner, depth + 1)
        return found

    messages = fill(request := kind())
    replace_claims(request, mallory)
    for message in messages:
        for field in message.DESCRIPTOR.fields:  # type: ignore[attr-defined]
            if field.name in NAMES | {"tenant"} and not field.is_repeated:
                assert getattr(message, field.name) != "alice", f"{call}: {field.full_name}"


def test_only_who_may_speaks_for_end_users() -> None:
    for on_behalf, expected in ((True, "shop/ann"), (False, "shop")):
        request = inference_pb2.GenerateRequest(principal="ann", tenant="other")
        replace_claims(request, Identity("shop", frozenset({Role.APP}), "shop", on_behalf=on_behalf))
        assert (request.principal, request.tenant) == (expected, "shop")
