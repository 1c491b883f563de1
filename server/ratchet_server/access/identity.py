"""Who is calling: a name that was proven, its roles and its tenant. Facts only; how they are proven is elsewhere."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ANYONE", "Credentials", "Identity", "Role", "act_as", "current"]


class Role(StrEnum):
    """What a caller is trusted with. No role includes another; see `access/permissions.py`."""

    APP = "app"
    REVIEWER = "reviewer"
    OPS = "ops"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller brought along, not yet believed.

    Attributes:
        authorization: The value of the `authorization` header; "" for none.
        certificate: Names in the client certificate that TLS has verified, the most specific first.
        peer: Where the call comes from, for the ledger.
    """

    authorization: str = ""
    certificate: tuple[str, ...] = ()
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller.

    Attributes:
        name: Stands for principal, actor, approver and reviewer of everything it does.
        roles: What it may do.
        tenant: The one whose policy and data are its own; "" for those who serve every tenant.
        credential: What proved it, e.g. "key 0f3a...", for the ledger.
        verified: Whether it was proven; an unverified caller is taken at its word.
        on_behalf: Whether it may name the end users it asks for; they become "name/user".
    """

    name: str
    roles: frozenset[Role]
    tenant: str = ""
    credential: str = ""
    verified: bool = True
    on_behalf: bool = False

    @property
    def trusted(self) -> bool:
        """Whether it runs the service, rather than uses it: tenants' limits and choices do not bind it."""
        return bool(self.roles & {Role.OPS, Role.ADMIN})

    def serves(self, tenant: str) -> bool:
        """Whether what belongs to a tenant is its business."""
        everywhere = not self.tenant and bool(self.roles & {Role.REVIEWER, Role.OPS, Role.ADMIN})
        return not self.verified or everywhere or tenant == self.tenant


ANYONE = Identity("anonymous", frozenset(Role), credential="none", verified=False)
"""Every caller of a server that asks for no credentials."""

_CURRENT: ContextVar[Identity] = ContextVar("ratchet_identity", default=ANYONE)


def current() -> Identity:
    """The caller of the call in progress; `ANYONE` outside calls, in the server's own work."""
    return _CURRENT.get()


def act_as(identity: Identity) -> None:
    """Makes an identity the current one for the rest of the task; every call has a task of its own."""
    _CURRENT.set(identity)
