"""How worker processes share the tests (pytest-xdist): a file stays together, and so do those of the engine.

Everything that asks the shared engine runs in one worker, since a session has one engine. What takes longest comes
first.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before anything imports torch: workers that each take all cores wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

_ENGINE = "tests/integration/"
_OWN_PROCESSES = ("tests/integration/test_ray.py", "tests/integration/test_learner_resume.py")
"""Integration tests that start what they need themselves."""


class ByFile(LoadScopeScheduling):
    """What one worker takes at a time: a file, or all that share the engine."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Share tests by `_group`."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what takes longest."""
    items.sort(key=lambda item: (_group(item.nodeid) != "engine", not item.nodeid.startswith(_OWN_PROCESSES)))


def _group(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return "engine" if file.startswith(_ENGINE) and file not in _OWN_PROCESSES else file
