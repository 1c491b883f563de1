"""Both clients offer every service of the contract, under the same names."""

from __future__ import annotations

import importlib

import grpc

from ratchet.client import AsyncRatchet, Ratchet

SERVICES = {"inference": "inference", "adapters": "adapter", "feedback": "feedback", "learning": "learning",
            "engine": "engine"}  # fmt: skip


def _calls(file: str) -> set[str]:
    contract = importlib.import_module(f"ratchet.v1.{file}_pb2").DESCRIPTOR
    return {method.name for service in contract.services_by_name.values() for method in service.methods}


def test_the_blocking_client_offers_every_call() -> None:
    with Ratchet("127.0.0.1:1") as client:
        for name, file in SERVICES.items():
            assert _calls(file) <= set(vars(getattr(client, name)))
        assert isinstance(client.engine.GetStatus, grpc.UnaryUnaryMultiCallable)


async def test_the_asyncio_client_offers_every_call_awaited() -> None:
    async with AsyncRatchet("127.0.0.1:1") as client:
        for name, file in SERVICES.items():
            assert _calls(file) <= set(vars(getattr(client, name)))
        assert isinstance(client.engine.GetStatus, grpc.aio.UnaryUnaryMultiCallable)
