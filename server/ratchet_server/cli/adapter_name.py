"""What an operator calls an adapter, turned into the digest that every answer must then name."""

from __future__ import annotations

import grpc

from ratchet.client import AsyncRatchet
from ratchet.client.errors import from_rpc_error
from ratchet.v1 import adapter_pb2


async def adapter_digest(address: str, name: str) -> str:
    """Alias, digest or prefix to the digest; "base" for the base model, also where an alias stands for it.

    Raises:
        RatchetError: There is no such adapter, or no server.
    """
    if name in ("", "base"):
        return "base"
    try:
        async with AsyncRatchet(address) as client:
            if name in ("champion", "previous"):
                routing = (await client.adapters.GetTraffic(adapter_pb2.GetTrafficRequest(), timeout=30)).routing
                return (routing.champion if name == "champion" else routing.previous) or "base"
            return (await client.adapters.Get(adapter_pb2.GetRequest(adapter=name), timeout=30)).adapter.digest
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None
