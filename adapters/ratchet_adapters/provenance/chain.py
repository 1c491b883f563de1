"""The ledger as a chain: its head, whether an exported head is still in it, and a stretch of it checked on its own.

It must not know what entries mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.provenance.errors import HeadNotFound, LedgerBroken
from ratchet_adapters.registry import LedgerEntry, Registry
from ratchet_adapters.registry.ledger import GENESIS, entry_hash

__all__ = ["Head", "check_chain", "entries", "entry_json", "expect_head", "head"]

_PAGE = 1000
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a ledger. Kept elsewhere, it makes cutting off the ledger's end visible."""

    seq: int
    hash: str


def entries(registry: Registry, after_seq: int = 0) -> Iterator[LedgerEntry]:
    """Give every ledger entry in order."""
    while page := registry.ledger(after_seq, _PAGE):
        yield from page
        after_seq = page[-1].seq


def head(registry: Registry) -> Head:
    """Return the head of a ledger that verifies; (0, 64 zeros) of an empty one.

    Raises:
        LedgerBroken: It does not verify.
    """
    check = registry.verify_ledger()
    if not check.ok:
        raise LedgerBroken(check.first_bad_seq, check.reason)
    # Since the check more may have been added; what was checked is the entry it ended with.
    last = registry.ledger(check.entries - 1, 1) if check.entries else []
    return Head(last[0].seq, last[0].hash) if last else Head(0, GENESIS)


def expect_head(registry: Registry, expected: str) -> int:
    """Return the number of the entry that was the head when `expected` was exported.

    Call it after the ledger itself verified: only then does one hash vouch for everything before it.

    Raises:
        HeadNotFound: No entry has this hash: the ledger's end was cut off or rewritten since.
        InvalidInput: `expected` is no entry's hash.
    """
    if not _HASH.fullmatch(expected):
        raise InvalidInput("expect-head", "it is not 64 hex digits, as `ratchet ledger head` prints them")
    if expected == GENESIS:
        return 0
    count = 0
    for entry in entries(registry):
        if entry.hash == expected:
            return entry.seq
        count += 1
    raise HeadNotFound(expected, count)


def entry_json(entry: LedgerEntry) -> dict[str, Any]:
    """Return an entry as JSON values, the time in the text that was hashed."""
    return {
        "seq": entry.seq,
        "time": entry.time.isoformat(timespec="microseconds"),
        "actor": entry.actor,
        "kind": entry.kind,
        "payload": entry.payload,
        "previous_hash": entry.previous_hash,
        "hash": entry.hash,
    }


def check_chain(stretch: Iterable[Mapping[str, Any]]) -> Head | None:
    """Check a stretch of a ledger by itself, as `entry_json` wrote it, and return its last entry; None of no entry.

    Raises:
        LedgerBroken: An entry was changed, removed, added or moved.
    """
    last: Head | None = None
    for entry in stretch:
        seq = entry.get("seq")
        try:
            found = entry_hash(
                entry["previous_hash"], entry["seq"], entry["time"], entry["actor"], entry["kind"], entry["payload"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LedgerBroken(seq, f"it is no ledger entry ({type(error).__name__})") from error
        if found != entry.get("hash"):
            raise LedgerBroken(seq, "its hash does not fit its content")
        if last is not None and (entry["previous_hash"], entry["seq"]) != (last.hash, last.seq + 1):
            raise LedgerBroken(seq, "it does not follow the entry before it")
        if last is None and entry["seq"] == 1 and entry["previous_hash"] != GENESIS:
            raise LedgerBroken(seq, "the first entry does not begin the chain")
        last = Head(entry["seq"], entry["hash"])
    return last
