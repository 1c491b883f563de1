"""What one attempt brought, before anybody judged it, and what identifies a campaign.

It must not know how it is stored nor what it is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["Facts", "Record"]

FORMAT = 1


@dataclass(frozen=True)
class Facts:
    """What all results of one campaign have in common. Two campaigns with equal facts may share a file.

    Attributes:
        suite: Name of the suite.
        suite_version: Digest of its items.
        attacks: Attack to version.
        adapter: As it was asked for: an alias, a digest, "base", or "" for the server's own routing.
        rail_profile: As it was asked for; "" for the server's default.
        base_fingerprint: Of the model the server runs.
        max_tokens: Longest answer.
        temperature: Of the sampling.
        seed: Of the campaign.
        limit: Most items of the suite; 0 for all.
        format: Of the result file.
    """

    suite: str
    suite_version: str
    attacks: Mapping[str, str]
    adapter: str
    rail_profile: str
    base_fingerprint: str
    max_tokens: int
    temperature: float
    seed: int
    limit: int
    format: int = FORMAT

    def differing(self, other: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the facts in which a stored head differs, in order."""
        own = asdict(self)
        return tuple(name for name in own if own[name] != other.get(name))


@dataclass(frozen=True)
class Record:
    """One attempt, carried out.

    Attributes:
        id: Of the attempt.
        attack: Name of the attack.
        variant: Which of its wordings.
        item: Id of the item.
        category: Of the item.
        cluster: Of the item.
        prompt: Of the item: what was really wanted.
        turns: The conversation that was held, as (role, text), the last answer included.
        answer: The last answer; "" when a rail blocked or the request failed.
        finish: Name of the finish reason; "" when the request failed.
        blocked_by: Rails that blocked.
        adapter_digest: Of the adapter that gave the last answer; "" for the base model alone.
        requests: How many were sent.
        seed: Of the sampling.
        error: Why there is no answer; "" when there is one or a rail blocked.
        seconds: From the first request to the last answer.
    """

    id: str
    attack: str
    variant: str
    item: str
    category: str
    cluster: str
    prompt: str
    turns: tuple[tuple[str, str], ...]
    answer: str
    finish: str
    blocked_by: tuple[str, ...]
    adapter_digest: str
    requests: int
    seed: int
    error: str = ""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """Read what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        known = {entry.name for entry in fields(cls)}
        turns = tuple((str(role), str(text)) for role, text in values["turns"])
        rest = {name: value for name, value in values.items() if name in known}
        return cls(**rest | {"turns": turns, "blocked_by": tuple(values["blocked_by"])})
