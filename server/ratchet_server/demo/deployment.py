"""Starts `ratchet up` on free loopback ports in a scratch folder, and stops it. Knows nothing of its use."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 300.0
STOP_SECONDS = 60.0


class DeploymentFailed(Exception):
    """`ratchet up` ended or did not become ready."""


@dataclass(frozen=True)
class Deployment:
    """A running server and learner."""

    address: str
    metrics: str
    state_dir: Path
    log: Path


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def deployment(folder: Path, environment: dict[str, str]) -> AsyncIterator[Deployment]:
    """Runs `ratchet up` until the block is left.

    Args:
        folder: Scratch folder for state and log.
        environment: RATCHET_* variables besides those of the ports.

    Raises:
        DeploymentFailed: with the end of the log.
    """
    log, ready = folder / "ratchet-up.log", folder / "ready.json"
    command = (
        sys.executable,
        "-c",
        "from ratchet.cli import main; main()",
        "up",
        "--ready-file",
        str(ready),
        "--port",
        str(free_port()),
        "--metrics-port",
        str(free_port()),
        "--state-dir",
        str(folder / "state"),
    )
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RATCHET_") or k == "RATCHET_CACHE"}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env=inherited | environment, start_new_session=True
        )
    try:
        yield await _ready(process, ready, log)
    finally:
        await _stop(process)


async def _ready(process: asyncio.subprocess.Process, ready: Path, log: Path) -> Deployment:
    try:
        async with asyncio.timeout(START_SECONDS):
            while not ready.exists():
                if process.returncode is not None:
                    raise DeploymentFailed(f"ratchet up ended with status {process.returncode}:\n{_tail(log)}")
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise DeploymentFailed(f"ratchet up was not ready after {START_SECONDS:.0f} s:\n{_tail(log)}") from None
    facts = json.loads(ready.read_text())
    return Deployment(facts["address"], facts["metrics"], Path(facts["state_dir"]), log)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        # The group, not the process alone: the learner and the engine core are its children.
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:])
