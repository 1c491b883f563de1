"""Opens a Ray cluster for one job and closes it again, whatever happens in between.

A cluster of our own listens on loopback only, has no dashboard, reports nothing to anybody and leaves no files. (What
a training opens besides is PyTorch's: its rendezvous store listens on all interfaces while workers train.)
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from ratchet_adapters.child_environment import child_environment
from ratchet_adapters.cluster.errors import ClusterUnavailable
from ratchet_adapters.cluster.settings import RaySettings

__all__ = ["opened", "worker_environment"]

LOOPBACK = "127.0.0.1"
# Ray takes 127.0.0.1 for a mistake and puts the machine's outside address in its place, unless clusters are off.
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def worker_environment(settings: RaySettings) -> dict[str, str]:
    """Environment variables of every worker process: its threads, and that nothing is downloaded."""
    variables = child_environment(settings.threads)
    if not settings.address and sys.platform == "linux":
        # Gloo would pick the interface of the host's name.
        variables["GLOO_SOCKET_IFNAME"] = "lo"
    return variables


@contextmanager
def opened(settings: RaySettings) -> Iterator[None]:
    """Within the block, Ray is connected. One at a time per process.

    Raises:
        ClusterUnavailable: Ray is not installed, or the cluster could not be started or reached.
    """
    if find_spec("ray") is None:
        raise ClusterUnavailable(settings.address, "the package ray is not installed")
    # Read when Ray is imported.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if settings.address:
        os.environ.pop(_CLUSTERS, None)
    else:
        os.environ[_CLUSTERS] = "0"
    import ray
    from ray._private import ray_constants

    # Somebody may have imported Ray before the variable was set.
    ray_constants.ENABLE_RAY_CLUSTER = bool(settings.address)
    # Short: the names of Unix sockets go below it, and they may have 107 characters.
    folder = tempfile.mkdtemp(prefix="ray-") if not settings.address else ""
    try:
        try:
            ray.init(
                **(_own(settings, folder) if folder else {"address": settings.address}),
                runtime_env={"env_vars": worker_environment(settings)},
                configure_logging=False,
            )
        # Ray raises many types while it starts; all mean the same here.
        except Exception as error:
            raise ClusterUnavailable(settings.address, f"{type(error).__name__}: {error}") from error
        if folder and (found := ray.util.get_node_ip_address()) != LOOPBACK:
            raise ClusterUnavailable("", f"it would listen on {found} instead of loopback")
        yield
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _own(settings: RaySettings, folder: str) -> dict[str, Any]:
    return {
        "num_cpus": math.ceil(settings.workers * settings.cpus_per_worker) + 1,
        "num_gpus": math.ceil(settings.workers * settings.gpus_per_worker) or None,
        "include_dashboard": False,
        "object_store_memory": settings.object_store_bytes,
        "_node_ip_address": LOOPBACK,
        "_temp_dir": folder,
    }
