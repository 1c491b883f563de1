"""The HTTP server that Prometheus scrapes, on a port of its own.

It must not share a port or an event loop with the gRPC server: a busy service still answers its scrapes.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from ratchet_server.observability.errors import ExporterUnavailable
from ratchet_server.observability.metrics import Metrics

__all__ = ["Exporter", "start"]


class Exporter:
    """A running exporter. Also a context manager that closes it.

    Attributes:
        host: The address it listens on.
        port: The port it listens on, never 0.
    """

    def __init__(self, server: WSGIServer, thread: threading.Thread, host: str) -> None:
        self._server = server
        self._thread = thread
        self.host = host
        self.port = int(server.server_port)

    @property
    def url(self) -> str:
        """Return the address to scrape."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop listening and wait for the serving thread. Closing twice does nothing."""
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start(metrics: Metrics, host: str = "127.0.0.1", port: int = 0) -> Exporter:
    """Serve the metrics over HTTP from a daemon thread.

    Args:
        metrics: What to serve; only its own registry, never the process-wide one.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one, see `Exporter.port`.

    Raises:
        ExporterUnavailable: The address cannot be listened on.
    """
    try:
        server, thread = start_http_server(port, addr=host, registry=metrics.registry)
    except OSError as error:
        raise ExporterUnavailable(host, port, error) from error
    return Exporter(server, thread, host)
