"""`ratchet learn`: the learner process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from ratchet_server.cli.failures import explained
from ratchet_server.cli.serve import Config, StateDir, from_options
from ratchet_server.cli.signals import on_stop
from ratchet_server.cli.threads import share_cores

# The learner must not be felt by requests (invariant: isolation). Its training process adds niceness of its own.
NICENESS = 5


def learn(config: Config = None, state_dir: StateDir = None) -> None:
    """Run the learner: it takes queued runs and carries each to its end, through restarts.

    Example:  RATCHET_LEARNER_SERVER=127.0.0.1:50051 ratchet learn
    """
    with explained():
        os.nice(NICENESS)
        share_cores()
        asyncio.run(_learn(config, state_dir))


async def _learn(config: Path | None, state_dir: Path | None) -> None:
    from ratchet_adapters.learning import Learner
    from ratchet_server.learner import learner_settings
    from ratchet_server.observability.logging import configure

    settings = from_options(config, None, None, state_dir)
    configure(settings.observability)
    learner = Learner(learner_settings(settings))
    on_stop(learner.request_stop)
    await learner.run_forever()
