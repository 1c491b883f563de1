"""Typed errors of the registry and of the database under it. Each says what was wrong and what to do about it."""

from __future__ import annotations

from ratchet_adapters.errors import AdaptersError

__all__ = [
    "AdapterAmbiguous",
    "AdapterNotFound",
    "ChampionChanged",
    "DatasetNotFound",
    "FleetNotReady",
    "GateRefused",
    "IdempotencyConflict",
    "NotApproved",
    "NothingToRollBack",
    "PromotionFrozen",
    "QuorumMissing",
    "RegistryError",
    "RegistryFull",
    "RegistryTooNew",
    "RegistryUnavailable",
    "ReportConflict",
    "ReportNotFound",
    "RolledBackOnEvidence",
    "RolloutActive",
    "RolloutNotFound",
    "RunEnded",
    "RunNotFound",
    "SelfApproval",
    "StageForbids",
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


class StageForbids(RegistryError):
    """What was asked for may not happen to an adapter in its present stage."""

    def __init__(self, digest: str, stage: str, event: str, allowed: list[str]) -> None:
        super().__init__(
            f"{digest[:19]} is {stage}, where {event} may not happen (only from {', '.join(allowed)}). Nothing was "
            "changed. See `ratchet adapters get` for where it stands and docs/rollout.md for what follows what."
        )
        self.digest = digest
        self.stage = stage
        self.event = event


class RolloutActive(RegistryError):
    """Another rollout is under way."""

    def __init__(self, rollout_id: str, candidate: str) -> None:
        super().__init__(
            f"Rollout {rollout_id} of {candidate[:19]} is under way; there is one at a time. Wait for its end or end "
            "it with `ratchet adapters rollback`."
        )
        self.rollout_id = rollout_id
        self.candidate = candidate


class RolloutNotFound(RegistryError):
    """No rollout has this id."""

    def __init__(self, rollout_id: str) -> None:
        super().__init__(f"There is no rollout {rollout_id[:128]!r}. List the rollouts to see their ids.")
        self.rollout_id = rollout_id


class RolledBackOnEvidence(RegistryError):
    """Live traffic spoke against an adapter after the report it would be promoted on."""

    def __init__(self, candidate: str, rollout_id: str, report_id: str) -> None:
        super().__init__(
            f"{candidate[:19]} was rolled back by rollout {rollout_id} on live evidence, after gate report "
            f"{report_id}. Evaluate it anew: only a newer PASS lets it serve again."
        )
        self.candidate = candidate
        self.rollout_id = rollout_id
        self.report_id = report_id


class NotApproved(RegistryError):
    """The policy asks for approvals that are not there."""

    def __init__(self, candidate: str, report_id: str, present: int, required: int) -> None:
        super().__init__(
            f"{candidate[:19]} has {present} of {required} approvals of its report {report_id} by somebody other than "
            "who asks for its promotion. Have it approved: ratchet adapters approve"
        )
        self.candidate = candidate
        self.report_id = report_id
        self.present = present
        self.required = required


class SelfApproval(RegistryError):
    """Who asked for a promotion cannot approve it."""

    def __init__(self, actor: str, candidate: str) -> None:
        super().__init__(
            f"{actor!r} asked for the promotion of {candidate[:19]} and cannot approve it. Somebody else has to."
        )
        self.actor = actor
        self.candidate = candidate


class PromotionFrozen(RegistryError):
    """A freeze window is open: nothing new goes into service. Rollbacks are never frozen."""

    def __init__(self, window: str, until: str) -> None:
        super().__init__(
            f"Promotions are frozen ({window}) until {until}. Nothing was changed. Ask again then; rollbacks work."
        )
        self.window = window
        self.until = until


class FleetNotReady(RegistryError):
    """Some servers have not said yet whether they can serve an adapter."""

    def __init__(self, candidate: str, waiting_for: str) -> None:
        super().__init__(
            f"{candidate[:19]} is not champion yet: {waiting_for} have not said whether they can serve it. Ask again; "
            "a server that is gone is not waited for beyond its lease."
        )
        self.candidate = candidate
        self.waiting_for = waiting_for


class QuorumMissing(RegistryError):
    """Too few servers can serve an adapter."""

    def __init__(self, candidate: str, ready: int, servers: int, enough: int, why: str) -> None:
        super().__init__(
            f"{candidate[:19]} is not promoted: {ready} of {servers} servers can serve it, and {enough} must ({why}). "
            "Nothing was changed. Mend those servers or stop them, then promote it again; "
            "RATCHET_REGISTRY__POLICY__FLEET__QUORUM says how many are enough."
        )
        self.candidate = candidate
        self.ready = ready
        self.servers = servers
        self.enough = enough
        self.why = why
