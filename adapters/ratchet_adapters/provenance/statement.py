"""What is signed of an adapter: an in-toto statement that names its digest and the digest of its lineage.

It must not know where signatures are kept, nor who is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ratchet_adapters.artifacts.digest import hex_of, is_digest
from ratchet_adapters.provenance.document import Lineage
from ratchet_adapters.provenance.envelope import open_envelope, seal
from ratchet_adapters.provenance.errors import SignatureInvalid
from ratchet_adapters.provenance.signing import Signer, Verifier

__all__ = ["PAYLOAD_TYPE", "AdapterStatement", "open_statement", "sign_adapter"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""The type in-toto gives to its statements (github.com/in-toto/attestation, version 1)."""
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "urn:ratchet:adapter:v1"


@dataclass(frozen=True, slots=True)
class AdapterStatement:
    """A statement whose signature held.

    Attributes:
        adapter: The adapter's digest.
        lineage: The digest of the lineage document the signer saw.
        base_fingerprint: Of the base model it is for.
        key_id: Who signed.
    """

    adapter: str
    lineage: str
    base_fingerprint: str
    key_id: str


def sign_adapter(lineage: Lineage, signer: Signer) -> str:
    """Return the signed statement on the adapter of a lineage, as one line of JSON. The same input, the same bytes."""
    value: dict[str, Any] = {
        "_type": _STATEMENT,
        "subject": [{"name": lineage.adapter.name, "digest": {"sha256": hex_of(lineage.adapter.digest)}}],
        "predicateType": _PREDICATE,
        "predicate": {"lineage": lineage.digest, "base_fingerprint": lineage.adapter.base_fingerprint},
    }
    return seal(value, PAYLOAD_TYPE, signer)


def open_statement(text: str | bytes, digest: str, verifier: Verifier) -> AdapterStatement:
    """Verify a signed statement on the adapter with a digest.

    Raises:
        SignatureInvalid: It is damaged, of another kind, or on another adapter.
        SignerUntrusted: No trusted key has signed it.
    """
    what = f"adapter {digest}"
    opened = open_envelope(text, PAYLOAD_TYPE, verifier, what=what)
    value = opened.value
    if value.get("_type") != _STATEMENT or value.get("predicateType") != _PREDICATE:
        raise SignatureInvalid(what, "it is a statement of another kind")
    try:
        (subject,) = value["subject"]
        named = f"sha256:{subject['digest']['sha256']}"
        lineage, base = value["predicate"]["lineage"], value["predicate"]["base_fingerprint"]
    except (KeyError, TypeError, ValueError) as error:
        raise SignatureInvalid(what, f"the statement is incomplete ({type(error).__name__})") from error
    if named != digest:
        raise SignatureInvalid(what, f"it is of {named[:100]}")
    if not isinstance(lineage, str) or not is_digest(lineage) or not isinstance(base, str):
        raise SignatureInvalid(what, "the statement names no lineage")
    return AdapterStatement(digest, lineage, base, opened.key_id)
