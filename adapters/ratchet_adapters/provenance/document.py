"""The form of a lineage document: what is known of an adapter, and where that stands in the ledger.

It must not know how it is put together. Everything in it is JSON; equal facts give equal bytes.
"""

from __future__ import annotations

import json
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ratchet_adapters.artifacts.digest import bytes_digest, canonical_json
from ratchet_adapters.provenance.errors import LineageBroken

__all__ = [
    "FORMAT",
    "Adapter",
    "Approval",
    "Code",
    "Data",
    "Entry",
    "File",
    "Gate",
    "Lineage",
    "Source",
    "Training",
]

FORMAT: Literal["ratchet.lineage/1"] = "ratchet.lineage/1"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class File(_Part):
    """A file of the adapter folder, by its hex SHA-256 and its size in bytes."""

    name: str
    sha256: str
    size: int


class Adapter(_Part):
    """What the registry and the folder say of the adapter. `proof` is from the serving engine, in nats."""

    digest: str
    name: str
    base_fingerprint: str
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    size_bytes: int
    created_by: str
    created_at: str
    files: tuple[File, ...]
    proof: dict[str, Any] | None


class Training(_Part):
    """The run that made it. `recipe` and `parents` are from the adapter's own `ratchet.json`."""

    run_id: str
    method: str
    recipe: dict[str, Any]
    seed: int | None
    options: dict[str, Any]
    requested_by: str
    started_at: str
    ended_at: str
    state: str
    steps: int
    last_loss: float | None
    parents: tuple[dict[str, Any], ...]


class Source(_Part):
    """Where rows come from and under which terms."""

    name: str
    licence: str
    rows: int
    digest: str


class Data(_Part):
    """The dataset version. `digest` is the artifact's, `manifest_digest` the one that `ratchet.json` names.

    Attributes:
        checks: What the build checked and left out: leak_check, label_check, quarantined, pii, dropped, caps, ...
    """

    digest: str
    manifest_digest: str
    datasheet_digest: str
    rows_digest: str
    counts: dict[str, int]
    sources: tuple[Source, ...]
    flags: tuple[str, ...]
    checks: dict[str, Any]


class Code(_Part):
    """Code versions: `trained_with` as the adapter's `ratchet.json` recorded it, `written_with` of this document."""

    trained_with: dict[str, Any] | None
    written_with: dict[str, Any]


class Gate(_Part):
    """A gate report, without its answers. `body_digest` is what the ledger holds of the whole report."""

    report_id: str
    champion_digest: str
    outcome: str
    reason: str
    created_at: str
    policy: dict[str, Any]
    policy_digest: str
    axes: tuple[dict[str, Any], ...]
    suites: tuple[dict[str, Any], ...]
    flips_better: int
    flips_worse: int
    body_digest: str
    ledger_seq: int


class Approval(_Part):
    """A decision of somebody: a flag that was reviewed, a promotion, a rollback.

    Attributes:
        what: The ledger's kind.
        subject: The flag's id, or the digest that became champion ("" for the base model).
        decision: ACCEPTED or REJECTED; "promoted" or "rolled back to it" or "rolled back from it" for routing.
        rests_on: The gate report of a promotion.
    """

    what: str
    subject: str
    decision: str
    actor: str
    reason: str
    rests_on: str
    time: str
    ledger_seq: int


class Entry(_Part):
    """A ledger entry about the adapter. Its hash pins every entry before it."""

    seq: int
    time: str
    actor: str
    kind: str
    hash: str


class Lineage(_Part):
    """The lineage of one adapter.

    Attributes:
        gaps: What is not known, each in a sentence. An empty field without a gap does not apply.
        digest: "sha256:<64 hex>" of the canonical JSON of all other fields.
    """

    format: Literal["ratchet.lineage/1"] = FORMAT
    adapter: Adapter
    training: Training | None
    data: Data | None
    code: Code
    gates: tuple[Gate, ...]
    approvals: tuple[Approval, ...]
    ledger: tuple[Entry, ...]
    gaps: tuple[str, ...]
    digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the document as JSON values."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """Return the document as indented JSON for people; `from_json` gives it back equal."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def own_digest(self) -> str:
        """Return the digest of what the document says."""
        body = {name: value for name, value in self.to_dict().items() if name != "digest"}
        return bytes_digest(canonical_json(body).encode())

    def sealed(self) -> Self:
        """Return the document with its digest in it."""
        return self.model_copy(update={"digest": self.own_digest()})

    @classmethod
    def from_json(cls, text: str | bytes) -> Lineage:
        """Read a document and check its digest.

        Raises:
            LineageBroken: It is damaged, of another format, or not what its digest says.
        """
        try:
            found = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            raise LineageBroken("this adapter", f"{where}: {first['msg']}") from error
        if found.own_digest() != found.digest:
            raise LineageBroken(found.adapter.digest, "the document was changed: its digest is of other content")
        return found
