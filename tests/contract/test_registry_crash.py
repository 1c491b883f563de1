"""Killed with -9 in the middle of its work, the database keeps what was acknowledged and nothing half-done."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

from ratchet_adapters.flags import FlagStore
from ratchet_adapters.registry import Registry

WORKER = Path(__file__).with_name("registry_worker.py")


def test_what_was_acknowledged_survives_kill_9_and_nothing_is_half_done(database_url: str) -> None:
    chance = random.Random(7)
    acknowledged: list[dict[str, object]] = []
    for _ in range(3):
        acknowledged += _work_and_be_killed(database_url, after=chance.uniform(0.05, 0.6))
    with Registry.open(database_url) as registry:
        check = registry.verify_ledger()
        assert check.ok, check.reason
        flags = FlagStore.open(registry)
        promised = [flag_id for fact in acknowledged for flag_id in fact.get("flags", [])]  # type: ignore[attr-defined]
        assert promised
        for flag_id in promised:
            assert flags.flag(flag_id).state == "OPEN"
        # Batches are whole or absent.
        assert flags.counts()["state"]["OPEN"] % 3 == 0
        assert registry.routing().version >= max(int(str(fact.get("version", 0))) for fact in acknowledged)
        assert (registry.routing().champion, registry.routing().previous) == _replayed(registry)


def test_processes_that_open_a_new_database_at_once_all_succeed(database_url: str) -> None:
    code = (
        "import sys; from ratchet_adapters.registry import Registry\n"
        "sys.stdin.read(1)\n"
        "with Registry.open(sys.argv[1]) as r: assert r.routing().version == 0 and r.verify_ledger().ok"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, database_url], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    time.sleep(0.2)
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"g")
        child.stdin.flush()
    for child in children:
        _, problems = child.communicate(timeout=120)
        assert child.returncode == 0, problems.decode()


def test_processes_that_write_at_once_keep_one_chain(database_url: str) -> None:
    code = (
        "import sys; from ratchet_adapters.registry import Registry\n"
        "with Registry.open(sys.argv[1]) as r:\n"
        "    for n in range(15): r.create_run(method='m', options={'n': n}, requested_by='w')"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, database_url], stderr=subprocess.PIPE) for _ in range(3)]
    for child in children:
        _, problems = child.communicate(timeout=120)
        assert child.returncode == 0, problems.decode()
    with Registry.open(database_url) as registry:
        check = registry.verify_ledger()
        assert (check.ok, check.entries) == (True, 45)


def _work_and_be_killed(url: str, *, after: float) -> list[dict[str, object]]:
    child = subprocess.Popen([sys.executable, str(WORKER), url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        facts = [json.loads(child.stdout.readline() or child.stderr.read())]
        # The first promise is waited for, so that every life has something to lose.
        while "flags" not in facts[-1]:
            facts.append(json.loads(child.stdout.readline()))
        time.sleep(after)
    finally:
        child.kill()
    rest, _ = child.communicate()
    facts += [json.loads(line) for line in rest.decode().splitlines(keepends=True) if line.endswith("\n")]
    return facts


def _replayed(registry: Registry) -> tuple[str, str]:
    """The champion and the one below it, from the ledger alone."""
    stack, after = [""], 0
    while page := registry.ledger(after, 1000):
        for entry in page:
            if entry.kind == "routing.promoted":
                stack.append(entry.payload["champion"])
            elif entry.kind == "routing.rolled_back":
                stack.pop()
        after = page[-1].seq
    return stack[-1], stack[-2] if len(stack) > 1 else ""
