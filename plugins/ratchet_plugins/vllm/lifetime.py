"""Ties the life of vLLM's child processes to their parent's.

It must not know what the processes do. vLLM's engine core survives a server that is killed with SIGKILL, and keeps
its memory (vllm-project/vllm#55510).
"""

from __future__ import annotations

import sys

__all__ = ["die_with_parent"]

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies; a no-op in the parent and outside Linux.

    vLLM calls it in every process it starts (entry-point group `vllm.general_plugins`).

    Raises:
        OSError: The kernel refused the request, so an orphan could hold the machine's memory.
    """
    import ctypes
    import multiprocessing
    import os
    import signal

    parent = multiprocessing.parent_process()
    if parent is None or not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed; the engine core could outlive its server")
    # The parent may have died between our start and the call above; the kernel tells nobody then.
    if os.getppid() != parent.pid:
        os.kill(os.getpid(), signal.SIGKILL)
