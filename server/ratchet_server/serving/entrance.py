"""Before the request path, for every protocol: the tenant's policy and limits, then a seat. Must not know the wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Protocol

from ratchet_server.access.identity import Identity, current
from ratchet_server.engine.errors import DeadlineExceeded
from ratchet_server.serving.admission import Admission
from ratchet_server.serving.exchange import Finished, Released, Request
from ratchet_server.tenants.choices import binding_policy, bound, may_ask_for
from ratchet_server.tenants.limits import TenantLimits
from ratchet_server.tenants.settings import TenantsSettings

__all__ = ["Entrance", "Path"]


class Path(Protocol):
    """What answers requests."""

    def run(self, request: Request) -> AsyncGenerator[Released | Finished, None]:
        """See `RequestPath.run`."""
        ...


class Entrance:
    """One per server; a `Path` itself."""

    def __init__(
        self,
        path: Path,
        admission: Admission,
        tenants: TenantsSettings,
        refused: Callable[[Request, Exception], None] = lambda request, error: None,
    ) -> None:
        """`refused`: told of each request that did not get in."""
        self._path = path
        self._admission = admission
        self._tenants = tenants
        self._limits = TenantLimits()
        self._refused = refused

    def may_ask_for(self, adapter: str) -> bool:
        """Whether the present caller may name an adapter."""
        identity = current()
        return may_ask_for(binding_policy(self._tenants, identity, identity.tenant), adapter)

    async def run(self, request: Request) -> AsyncGenerator[Released | Finished, None]:
        """As `RequestPath.run`.

        Raises:
            PermissionDenied, RequestInvalid: The tenant's policy does not allow it.
            LimitExceeded: The tenant has used what it may use.
            Overloaded: Too many are waiting.
            DeadlineExceeded: No seat became free in time.
        """
        try:
            request, settle = self._policed(request, current())
        except Exception as error:
            self._refused(request, error)
            raise
        async with self._seat(request) as seated, aclosing(self._path.run(seated)) as items:
            async for item in items:
                if isinstance(item, Finished):
                    settle(item.prompt_tokens + item.completion_tokens)
                yield item

    def _policed(self, request: Request, identity: Identity) -> tuple[Request, Callable[[int], None]]:
        policy = binding_policy(self._tenants, identity, request.tenant)
        if policy is None:
            return request, lambda used: None
        request = bound(request, policy, identity)
        return request, self._limits.take(request, policy)

    @asynccontextmanager
    async def _seat(self, request: Request) -> AsyncIterator[Request]:
        """Holds a seat; gives the request with the time it has left."""
        began, seat = time.monotonic(), self._admission.seat(request.priority)
        try:
            async with asyncio.timeout(request.deadline):
                await seat.__aenter__()
        except Exception as error:
            late = DeadlineExceeded(request.request_id) if isinstance(error, TimeoutError) else error
            self._refused(request, late)
            raise late from None
        left = None if request.deadline is None else max(0.0, request.deadline - (time.monotonic() - began))
        try:
            yield replace(request, deadline=left)
        finally:
            await seat.__aexit__(None, None, None)
