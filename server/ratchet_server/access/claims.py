"""What callers say of themselves in a message, replaced by who they are.

Works on every message of the contract by the names of its fields, so that a new call cannot forget it.
"""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from ratchet_server.access.identity import Identity

__all__ = ["LONGEST", "NAMES", "replace_claims"]

NAMES = frozenset({"actor", "approver", "reviewer", "principal"})
"""Fields that say who does something."""

LONGEST = 128
"""Characters of a name, at most."""


def replace_claims(message: Message, identity: Identity) -> None:
    """Puts the verified identity in place of every claim in a message, those of messages within it included.

    An unverified identity leaves them. A tenant's own identity can speak for no other tenant; one without a tenant
    serves all of them, and says which.
    """
    if not identity.verified:
        return
    for field in message.DESCRIPTOR.fields:
        if field.name in NAMES and field.type == FieldDescriptor.TYPE_STRING:
            setattr(message, field.name, _name(identity, getattr(message, field.name), field.name))
        elif field.name == "tenant" and field.type == FieldDescriptor.TYPE_STRING:
            if identity.tenant or not identity.trusted:
                message.tenant = identity.tenant  # type: ignore[attr-defined]
        elif field.type == FieldDescriptor.TYPE_MESSAGE and not field.is_repeated and message.HasField(field.name):
            replace_claims(getattr(message, field.name), identity)


def _name(identity: Identity, claimed: str, field: str) -> str:
    """An end user is known only by whom vouches for them."""
    if field == "principal" and identity.on_behalf and claimed:
        return f"{identity.name}/{claimed}"[:LONGEST]
    return identity.name
