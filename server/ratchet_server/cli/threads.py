"""How many cores the small models of a command may use. Must run before torch is imported."""

from __future__ import annotations

import os


def share_cores() -> None:
    """Half the cores, unless the operator said otherwise.

    OpenMP threads that wait for a descheduled sibling spin: beside the engine, half the cores do more work than all.
    The engine core and the training process have settings of their own.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // 2)))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
