"""A process the crash tests kill: it submits, promotes and rolls back for ever and says so after each call.

Run as a script: `registry_worker.py URL`. One JSON line per acknowledged call.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
from datetime import UTC, datetime

from ratchet_adapters.flags import FlagStore, Message, NewFlag
from ratchet_adapters.registry import AdapterRecord, Registry, ReportRecord


def say(**fact: object) -> None:
    """Write one acknowledged fact."""
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


def main(url: str) -> None:
    """Work until killed."""
    registry = Registry.open(url)
    flags = FlagStore.open(registry)
    now = datetime.now(UTC)
    say(ready=True)
    for number in itertools.count():
        name = f"{os.getpid()}-{number}"
        digest = f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
        registry.add_adapter(AdapterRecord(digest, name, "", 8, 16.0, ("q_proj",), 1, "", "w", now), "w")
        champion = registry.routing().champion
        registry.add_report(ReportRecord(name, "", digest, champion, "PASS", "", {}, now))
        say(version=registry.promote(digest, expected_champion=champion, actor="w", reason=name).version)
        say(flags=flags.submit([NewFlag("TOXIC", "USER", "w", (Message("user", name),)) for _ in range(3)]))
        if number % 2:
            say(version=registry.rollback(actor="w", reason=name).version)


if __name__ == "__main__":
    main(sys.argv[1])
