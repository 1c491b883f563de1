"""Typed errors of the registry and of the database under it. Each says what was wrong and what to do about it."""

from __future__ import annotations

from ratchet_adapters.errors import AdaptersError

__all__ = [
    "AdapterAmbiguous",
    "AdapterNotFound",
    "ChampionChanged",
    "DatasetNotFound",
    "GateRefused",
    "IdempotencyConflict",
    "NothingToRollBack",
    "RegistryError",
    "RegistryFull",
    "RegistryTooNew",
    "RegistryUnavailable",
    "ReportConflict",
    "ReportNotFound",
    "RunEnded",
    "RunNotFound",
]


class RegistryError(AdaptersError):
    """Base of the registry's errors."""


class RegistryUnavailable(RegistryError):
    """The database could not be opened, read or written. What was being written is absent."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"The database {url} cannot be used: {why}. Check its URL, permissions and server.")
        self.url = url
        self.why = why


class RegistryFull(RegistryUnavailable):
    """No space is left for the database. What was being written is absent."""

    def __init__(self, url: str, why: str) -> None:
        RegistryError.__init__(self, f"The database {url} is full ({why}). Nothing was changed. Free disk space.")
        self.url = url
        self.why = why


class RegistryTooNew(RegistryError):
    """The database was written by a newer version of this program."""

    def __init__(self, url: str, revision: str) -> None:
        super().__init__(
            f"The database {url} is at schema {revision}, which this version does not know. Upgrade this program."
        )
        self.url = url
        self.revision = revision


class AdapterNotFound(RegistryError):
    """No adapter goes by a digest, prefix or alias."""

    def __init__(self, ref: str, why: str = "no adapter has this digest, digest prefix or alias") -> None:
        super().__init__(f"Adapter {ref[:128]!r}: {why}. List the adapters to see what there is.")
        self.ref = ref
        self.why = why


class AdapterAmbiguous(AdapterNotFound):
    """A digest prefix fits several adapters."""

    def __init__(self, ref: str) -> None:
        super().__init__(ref, "several adapters have this digest prefix; give more digits")


class GateRefused(RegistryError):
    """The newest gate report for a candidate against the present champion is not a PASS, or there is none."""

    def __init__(self, candidate: str, champion: str, outcome: str, report_id: str) -> None:
        said = f"the newest gate report ({report_id}) says {outcome}" if report_id else "there is no gate report"
        super().__init__(
            f"{candidate or 'base'} is not promoted: {said} for it against the present champion {champion or 'base'}. "
            "Evaluate it against this champion and promote it when the gate says PASS."
        )
        self.candidate = candidate
        self.champion = champion
        self.outcome = outcome
        self.report_id = report_id


class ChampionChanged(RegistryError):
    """The champion is not the one the caller expected."""

    def __init__(self, expected: str, champion: str) -> None:
        super().__init__(
            f"The champion is {champion or 'base'}, not {expected or 'base'} as expected. Nothing was changed. Look at "
            "the routing and decide again."
        )
        self.expected = expected
        self.champion = champion


class NothingToRollBack(RegistryError):
    """The base model serves and nothing was promoted before it."""

    def __init__(self) -> None:
        super().__init__("The base model already serves and there is nothing under it to go back to.")


class RunNotFound(RegistryError):
    """No run has this id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"There is no run {run_id[:128]!r}. List the runs to see their ids.")
        self.run_id = run_id


class RunEnded(RegistryError):
    """A run that has ended does not change any more."""

    def __init__(self, run_id: str, state: str) -> None:
        super().__init__(f"Run {run_id} has ended ({state}) and does not change any more. Start a new run.")
        self.run_id = run_id
        self.state = state


class IdempotencyConflict(RegistryError):
    """The same idempotency key came with another request."""

    def __init__(self, key: str, run_id: str) -> None:
        super().__init__(
            f"The idempotency key {key!r} was used for run {run_id} with other parameters. Use a new key for a new run."
        )
        self.key = key
        self.run_id = run_id


class ReportNotFound(RegistryError):
    """No gate report has this id, or the run has none yet."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"There is no gate report for {subject[:128]!r}. It is written when the run reaches its gate.")
        self.subject = subject


class ReportConflict(RegistryError):
    """A gate report with this id says something else."""

    def __init__(self, report_id: str) -> None:
        super().__init__(f"Gate report {report_id} exists and says something else. Reports never change: use a new id.")
        self.report_id = report_id


class DatasetNotFound(RegistryError):
    """No dataset has this digest."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"There is no dataset {digest[:128]!r}. Check the digest in the run that made it.")
        self.digest = digest
