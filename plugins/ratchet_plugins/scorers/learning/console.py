"""Lines on standard output for the training and measuring scripts, flushed so that a log can be followed.

It must not be used by anything that serves: servers log.
"""

from __future__ import annotations

import sys

__all__ = ["say"]


def say(*parts: object) -> None:
    """Write one line, the parts separated by spaces."""
    sys.stdout.write(" ".join(str(part) for part in parts) + "\n")
    sys.stdout.flush()
