"""The command line. What talks to a server over gRPC is here; the rest comes in by entry point."""

from ratchet.cli.app import main

__all__ = ["main"]
