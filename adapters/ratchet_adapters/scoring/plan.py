"""One scoring job: the parts of a log, which of them are there, and how a part is written.

It must not know which processes do the scoring.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ratchet_adapters.scoring.errors import OutputOfOtherJob
from ratchet_adapters.scoring.log import Log

__all__ = ["MANIFEST", "READS", "Plan", "plan"]

MANIFEST = "manifest.json"
FORMAT = 1
READS: Mapping[str, str] = {"toxicity": "completion", "refusal": "completion", "triage": "prompt"}
"""Each scorer, and which text of a row it reads."""


@dataclass(frozen=True)
class Plan:
    """A log, where its scores go, and how much of the machine a worker takes.

    Attributes:
        log: The checked file.
        out: Folder of the parts, each `part-<number>` in the log's own format.
        threads: CPU threads of one worker.
    """

    log: Log
    out: Path
    threads: int

    def file(self, part: int) -> Path:
        """Where the scores of a part go."""
        return self.out / f"part-{part:05}.{self.log.format}"

    @property
    def pending(self) -> tuple[int, ...]:
        """The parts that are not there yet."""
        return tuple(part for part in range(len(self.log.starts)) if not self.file(part).exists())

    def write(self, part: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the scores of a part, all of them or nothing."""
        path = self.file(part)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
        with temporary.open("wb") as stream:
            if self.log.format == "jsonl":
                stream.writelines(json.dumps(row).encode() + b"\n" for row in rows)
            else:
                import pyarrow
                from pyarrow import parquet

                parquet.write_table(pyarrow.Table.from_pylist(list(rows)), stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        return json.dumps(
            {**asdict(self), "log": {**asdict(self.log), "path": str(self.log.path)}, "out": str(self.out)}
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan that `to_json` described."""
        value = json.loads(text)
        log = value["log"]
        return cls(
            Log(**{**log, "path": Path(log["path"]), "starts": tuple(log["starts"])}),
            Path(value["out"]),
            value["threads"],
        )


def plan(log: Log, out: Path, *, threads: int = 1) -> Plan:
    """Make the output folder this job's, or continue in it.

    Raises:
        OutputOfOtherJob: It holds scores of another file, of other scorers, or in other parts.
        ScorerUnavailable: A scorer does not load.
    """
    from ratchet_plugins.scorers.registry import load_scorer

    wanted = {
        "format": FORMAT,
        "input": log.digest,
        "rows": log.rows,
        "rows_per_part": log.rows_per_part,
        "scorers": {name: load_scorer(name).version for name in READS},
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / MANIFEST
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if any(out.iterdir()):
            raise OutputOfOtherJob(out, ["it has files but no manifest"]) from None
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(wanted, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path)
    except ValueError:
        raise OutputOfOtherJob(out, ["its manifest is damaged"]) from None
    else:
        if known != wanted:
            keys = {*known, *wanted} if isinstance(known, dict) else {"manifest"}
            differ = sorted(key for key in keys if not isinstance(known, dict) or known.get(key) != wanted.get(key))
            raise OutputOfOtherJob(out, differ)
    return Plan(log, out.resolve(), threads)
