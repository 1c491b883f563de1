"""`ratchet learn`: the learner process."""

from __future__ import annotations

import asyncio
import os
import signal

from ratchet_server.cli.failures import explained
from ratchet_server.cli.serve import Config, StateDir

# The learner must not be felt by requests (invariant: isolation).
NICENESS = 19


def learn(config: Config = None, state_dir: StateDir = None) -> None:
    """Run the learner: it takes queued runs and carries each to its end, through restarts.

    Example:  RATCHET_LEARNER_SERVER=127.0.0.1:50051 ratchet learn
    """
    with explained():
        os.nice(NICENESS)
        asyncio.run(_learn(config and str(config), state_dir and str(state_dir.resolve())))


async def _learn(config: str | None, state_dir: str | None) -> None:
    from ratchet_adapters.learning import Learner

    from ratchet_server.learner import learner_settings
    from ratchet_server.observability.logging import configure
    from ratchet_server.settings import load

    if config:
        os.environ["RATCHET_CONFIG"] = config
    settings = load(**({"state_dir": state_dir} if state_dir else {}))
    configure(settings.observability)
    learner = Learner(learner_settings(settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, learner.request_stop)
    await learner.run_forever()
