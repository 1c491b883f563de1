"""The HTTP server in the service's own event loop: uvicorn, started and stopped like the gRPC server beside it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from ratchet_server.http.settings import HttpSettings
from ratchet_server.rpc.server import BindRefused

__all__ = ["HttpServer"]


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the process."""
        yield


class HttpServer:
    """One per server."""

    def __init__(
        self, app: Starlette, host: str, settings: HttpSettings, *, tls: ssl.SSLContext | None, grace_seconds: float
    ) -> None:
        """Binds the port.

        Raises:
            BindRefused: It is taken.
        """
        assert settings.port is not None
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, settings.port))
        except OSError as error:
            self._socket.close()
            why = f"cannot listen on {host}:{settings.port}: does another server? Set RATCHET_HTTP__PORT"
            raise BindRefused(why) from error
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            limit_concurrency=settings.max_connections,
            timeout_graceful_shutdown=max(1, round(grace_seconds)),
        )
        config.load()
        config.ssl = tls
        self._server = _Uvicorn(config)
        self._task: asyncio.Task[None] | None = None
        # It reports every connection that a client leaves half open as an error.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Takes requests when this returns."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="http")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise BindRefused(f"the HTTP server ended while it started on {self.url}")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Running requests may finish within the grace time. Idempotent."""
        if self._task is None:
            self._socket.close()
            return
        self._server.should_exit = True
        await self._task
