"""Everything that listens: the gRPC server, and the HTTP facade when it has a port. Both have one door and one path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ratchet_server.access.door import Door
from ratchet_server.http.settings import HttpSettings
from ratchet_server.rpc.answers import Answers
from ratchet_server.rpc.server import RpcServer, Servicers
from ratchet_server.rpc.settings import RpcSettings
from ratchet_server.rpc.tls import Certificates

__all__ = ["Front"]

REFRESH_SECONDS = 1.0


class Front:
    """One per server. Starts NOT_SERVING; say so when it serves."""

    def __init__(
        self,
        rpc: RpcSettings,
        http: HttpSettings,
        servicers: Servicers,
        answers: Answers,
        door: Door,
        models: Callable[[], list[str]],
    ) -> None:
        """Binds the ports.

        Raises:
            BindRefused: Open to others than this machine without TLS or without credentials, or taken.
            TlsInvalid: A certificate or key cannot be used.
        """
        self._certificates = Certificates(rpc.tls) if rpc.tls.on else None
        self._refreshing: asyncio.Task[None] | None = None
        self.rpc = RpcServer(rpc, servicers, door, self._certificates)
        self.http = None
        if http.port is not None:
            # Here, because starlette and uvicorn are needed by those only who want HTTP.
            from ratchet_server.http.app import facade
            from ratchet_server.http.server import HttpServer

            app = facade(answers, door, models, lambda: self.rpc.is_serving, http)
            tls = self._certificates.ssl_context() if self._certificates else None
            self.http = HttpServer(app, rpc.host, http, tls=tls, grace_seconds=rpc.grace_seconds)

    async def start(self) -> None:
        """Takes calls, as NOT_SERVING."""
        await self.rpc.start()
        if self.http is not None:
            await self.http.start()
        if self._certificates is not None:
            self._refreshing = asyncio.create_task(self._refresh(self._certificates), name="certificates")

    async def serving(self, yes: bool) -> None:
        """What health checks see."""
        await self.rpc.serving(yes)

    async def stop(self) -> None:
        """NOT_SERVING first, then running calls may finish within the grace time."""
        await self.rpc.serving(False)
        if self._refreshing is not None:
            self._refreshing.cancel()
        stops = [self.rpc.stop()] if self.http is None else [self.rpc.stop(), self.http.stop()]
        await asyncio.gather(*stops)

    @staticmethod
    async def _refresh(certificates: Certificates) -> None:
        """For HTTP, which looks at no file by itself; gRPC looks at every handshake."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            certificates.refresh()
