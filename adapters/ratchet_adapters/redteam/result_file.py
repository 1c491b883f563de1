"""The result file of a campaign: one line of facts, then one line per attempt, appended and synced.

It must not know what a record means. A process killed at any moment loses at most the line it was writing: a line
without its end is cut off when the file is opened again.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from filelock import FileLock, Timeout

from ratchet_adapters.redteam.errors import CampaignDiffers, CampaignUnreadable
from ratchet_adapters.redteam.record import Facts, Record

__all__ = ["ResultFile"]


class ResultFile:
    """An open result file; use as a context manager. Only one process at a time has it open.

    Args:
        path: Made when absent, with its folder.
        facts: Of the campaign that wants to write.

    Raises:
        CampaignDiffers: The file holds another campaign.
        CampaignUnreadable: It is damaged, or another process has it open.
        OSError: It cannot be read or written.
    """

    def __init__(self, path: Path, facts: Facts) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(str(path) + ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise CampaignUnreadable(path, "another process is running this campaign; wait for it or stop it") from None
        try:
            self._records, self.spent = self._opened(facts)
            self._stream: IO[bytes] = path.open("ab")
        except BaseException:
            self._lock.release()
            raise

    @property
    def records(self) -> dict[str, Record]:
        """Attempt to its latest record."""
        return dict(self._records)

    def append(self, record: Record) -> None:
        """Add a record. When this returns it is on disk."""
        self._write(record.to_dict())
        self._records[record.id] = record
        self.spent += record.requests

    def close(self) -> None:
        """Close the file and let others have it."""
        self._stream.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, values: dict[str, Any]) -> None:
        self._stream.write(_line(values))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _opened(self, facts: Facts) -> tuple[dict[str, Record], int]:
        content = self._path.read_bytes() if self._path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if not whole:
            self._path.write_bytes(_line(asdict(facts)))
            return {}, 0
        if whole != content:
            with self._path.open("r+b") as stream:
                stream.truncate(len(whole))
        head, *lines = whole.splitlines()
        differing = facts.differing(self._json(head, 1))
        if differing:
            raise CampaignDiffers(self._path, differing)
        records: dict[str, Record] = {}
        spent = 0
        for number, line in enumerate(lines, start=2):
            try:
                record = Record.from_dict(self._json(line, number))
            except (KeyError, TypeError, ValueError) as error:
                raise CampaignUnreadable(self._path, f"line {number} is no result ({error})") from error
            records[record.id] = record
            spent += record.requests
        return records, spent

    def _json(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except ValueError as error:
            raise CampaignUnreadable(self._path, f"line {number} is no JSON ({error})") from error
        if not isinstance(value, dict):
            raise CampaignUnreadable(self._path, f"line {number} is no object")
        return value


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
