"""Which code is installed here: this package's version and every distribution beside it.

It must not know what the code is used for.
"""

from __future__ import annotations

import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from types import MappingProxyType
from typing import Any

__all__ = ["code_version"]

_PACKAGE = "ratchet-llm"


@cache
def code_version() -> MappingProxyType[str, Any]:
    """Return {"version", "python", "packages": {name: version}}, read once per process.

    `version` is "" where the package runs from a folder that was never installed.
    """
    packages: dict[str, str] = {}
    for found in distributions():
        name = found.metadata["Name"]
        # A folder on the path can hold the leftovers of a package without its metadata.
        if name:
            # The first one found is the one that is imported.
            packages.setdefault(re.sub(r"[-_.]+", "-", name).lower(), found.version)
    try:
        own = version(_PACKAGE)
    except PackageNotFoundError:
        own = ""
    return MappingProxyType(
        {"version": own, "python": platform.python_version(), "packages": dict(sorted(packages.items()))}
    )
