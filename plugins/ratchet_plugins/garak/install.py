"""`python -m ratchet_plugins.garak.install`: makes a stock `python -m garak` know the target type `ratchet`.

garak loads generators by module name out of its own package and has no entry points, so one file is put there. It holds
no code of its own; a new version of garak needs it again.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["install", "main"]

_FILE = '''"""Ratchet over gRPC. Written by `python -m ratchet_plugins.garak.install`; delete this file to undo it."""

from ratchet_plugins.garak.generator import DEFAULT_CLASS, RatchetGenerator as _Generator

__all__ = ["DEFAULT_CLASS", "RatchetGenerator"]


class RatchetGenerator(_Generator):
    """A Ratchet server over gRPC"""
'''


def install() -> Path:
    """Write the file into the installed garak and return its path.

    Raises:
        ModuleNotFoundError: garak is not installed here.
        OSError: Its folder cannot be written.
    """
    import garak.generators

    path = Path(garak.generators.__path__[0]) / "ratchet.py"
    path.write_text(_FILE, encoding="utf-8")
    return path


def main() -> None:
    """Write the file and say where."""
    sys.stdout.write(f"{install()}\n")


if __name__ == "__main__":
    main()
