"""Settings section of tenants: a policy for each one by name, and one for all others."""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["TenantPolicy", "TenantsSettings"]


class TenantPolicy(BaseModel, extra="forbid"):
    """The policy of one tenant. It binds applications; ops and admins are not bound."""

    rail_profile: str = ""
    """The rails of requests that name none; empty: the server's default."""

    rail_profiles: frozenset[str] = frozenset()
    """Further profiles that may be asked for."""

    adapters: frozenset[str] = frozenset({"champion"})
    """Aliases and digests that may be asked for, "base" among them. What the server routes by itself is always open."""

    system_prompt: str = Field("", max_length=32_768)
    """Stands before every conversation; a system message of the caller's follows it."""

    own_system_prompt: bool = True
    """Whether callers may send system messages."""

    max_tokens: int | None = Field(None, ge=1)
    """Answers end here at the latest, with finish reason "length"."""

    max_prompt_chars: int | None = Field(None, ge=1)
    """Of all messages of a request together."""

    requests_per_minute: int | None = Field(None, ge=1)
    """In any 60 seconds, on each server."""

    tokens_per_minute: int | None = Field(None, ge=1)
    """Of prompts and answers, in each minute, on each server."""


class TenantsSettings(BaseModel, extra="forbid"):
    """Policies by the tenant's name."""

    default: TenantPolicy = TenantPolicy()
    """Of tenants that are not named."""

    named: dict[str, TenantPolicy] = Field(default_factory=dict)

    def policy(self, tenant: str) -> TenantPolicy:
        """The policy of a tenant."""
        return self.named.get(tenant, self.default)
