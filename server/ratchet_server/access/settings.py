"""Settings section of access control: who must prove what, and how."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, model_validator

from ratchet_server.access.identity import Role

__all__ = ["AccessSettings", "Grant", "TokenSettings"]


class Grant(BaseModel, extra="forbid"):
    """What a caller gets whose name was proven elsewhere."""

    roles: frozenset[Role] = Field(min_length=1)
    tenant: str = Field("", max_length=64, pattern="^[A-Za-z0-9._-]*$")
    on_behalf: bool = False
    """Whether it may name the end users it asks for."""


class TokenSettings(BaseModel, extra="forbid"):
    """JSON Web Tokens of an OpenID Connect provider, or of anyone who publishes a key set."""

    jwks_file: Path | None = None
    """The provider's key set; read again when the file changes."""

    jwks_url: str = ""
    """The same from an address, fetched again when a token names an unknown key."""

    issuer: str = ""
    audience: str = ""
    """Both are required of every token: without them any token of the provider would open this server."""

    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    leeway_seconds: float = Field(30, ge=0)
    name_claim: str = "sub"
    roles_claim: str = "roles"
    """A list of names, or one text of names between spaces; a dot goes into a claim: realm_access.roles."""

    tenant_claim: str = "tenant"
    roles: dict[str, Role] = Field(default_factory=dict)
    """The provider's names of roles, when they are not this server's: {safety-team: reviewer}."""

    @property
    def on(self) -> bool:
        """Whether tokens are taken at all."""
        return self.jwks_file is not None or bool(self.jwks_url)

    @model_validator(mode="after")
    def _whole(self) -> TokenSettings:
        if self.jwks_file and self.jwks_url:
            raise ValueError("give jwks_file or jwks_url, not both")
        if self.on and not (self.issuer and self.audience):
            raise ValueError("tokens need `issuer` and `audience`: any token of the provider would open this server")
        if weak := [name for name in self.algorithms if name.startswith(("HS", "none"))]:
            raise ValueError(f"{weak[0]} proves nothing here: a key set is public")
        return self


class AccessSettings(BaseModel, extra="forbid"):
    """Who may come in."""

    required: bool = False
    """False: a caller without credentials may do everything and is taken at its word. For one machine only."""

    cache_seconds: float = Field(2.0, ge=0)
    """How long a key that was looked up is remembered: so soon does a revocation hold on every server."""

    tokens: TokenSettings = TokenSettings()
    certificates: dict[str, Grant] = Field(default_factory=dict)
    """What client certificates open, by a name in them (subject alternative name or common name)."""
