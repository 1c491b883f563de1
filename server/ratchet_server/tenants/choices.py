"""A tenant's policy applied to a request: what it may choose is checked, what is chosen for it is filled in."""

from __future__ import annotations

from dataclasses import replace

from ratchet_adapters.flags import Message
from ratchet_server.access.errors import PermissionDenied
from ratchet_server.access.identity import Identity
from ratchet_server.engine.errors import RequestInvalid
from ratchet_server.serving.exchange import EVALUATION, Request
from ratchet_server.tenants.settings import TenantPolicy, TenantsSettings

__all__ = ["binding_policy", "bound", "may_ask_for"]


def binding_policy(settings: TenantsSettings, identity: Identity, tenant: str) -> TenantPolicy | None:
    """Return the policy that binds a caller; None when none does.

    Those who run the service are not bound. A caller whom nobody verified is bound by the policy of the tenant it
    names, if there is one of that name.
    """
    if identity.verified:
        return None if identity.trusted else settings.policy(tenant)
    return settings.named.get(tenant)


def may_ask_for(policy: TenantPolicy | None, adapter: str) -> bool:
    """Whether a caller may name an adapter; "" leaves it to the server."""
    return policy is None or not adapter or adapter in policy.adapters


def bound(request: Request, policy: TenantPolicy, identity: Identity) -> Request:
    """Return the request as the policy wants it.

    Raises:
        PermissionDenied: It asks for what the policy does not allow.
        RequestInvalid: It is longer than the policy allows.
    """
    if not may_ask_for(policy, request.adapter):
        raise PermissionDenied(identity.name, f"ask for the adapter {request.adapter!r}")
    if request.profile and request.profile != policy.rail_profile and request.profile not in policy.rail_profiles:
        raise PermissionDenied(identity.name, f"ask for the rail profile {request.profile!r}")
    if request.priority >= EVALUATION:
        # Such requests are neither scored nor kept.
        raise PermissionDenied(identity.name, "ask at the priority of evaluations")
    size = sum(len(message.content) for message in request.messages)
    if policy.max_prompt_chars is not None and size > policy.max_prompt_chars:
        raise RequestInvalid(f"the messages have {size} characters, the tenant's limit is {policy.max_prompt_chars}")
    sampling = request.sampling
    if policy.max_tokens is not None and sampling.max_tokens > policy.max_tokens:
        sampling = replace(sampling, max_tokens=policy.max_tokens)
    return replace(
        request,
        messages=_with_system_prompt(request.messages, policy, identity),
        profile=request.profile or policy.rail_profile,
        sampling=sampling,
    )


def _with_system_prompt(messages: tuple[Message, ...], policy: TenantPolicy, identity: Identity) -> tuple[Message, ...]:
    own = messages[0].content if messages[0].role == "system" else None
    if own is not None and not policy.own_system_prompt:
        raise PermissionDenied(identity.name, "send system messages")
    if not policy.system_prompt:
        return messages
    if own is None:
        return (Message("system", policy.system_prompt), *messages)
    return (Message("system", f"{policy.system_prompt}\n\n{own}"), *messages[1:])
