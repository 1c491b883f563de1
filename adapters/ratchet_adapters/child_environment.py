"""Environment variables of processes that compute beside the server: their threads, and that nothing is downloaded.

It must not know what they compute.
"""

from __future__ import annotations

__all__ = ["child_environment"]


def child_environment(threads: int) -> dict[str, str]:
    """Return the variables, to be laid over a process's own. OpenMP reads its own once, before Python code runs."""
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        # On a busy machine a thread that spins at a barrier takes the core from the one it waits for.
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
