"""A signed JSON document: a DSSE envelope (github.com/secure-systems-lab/dsse, version 1) around canonical JSON.

It must not know what the document says. The signature covers the payload's type too, so that a signature of one kind of
document never passes for one of another kind.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from ratchet_adapters.artifacts.digest import canonical_json
from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.provenance.errors import SignatureInvalid, SignerUntrusted
from ratchet_adapters.provenance.signing import Signer, Verifier

__all__ = ["Opened", "open_envelope", "seal"]

_LARGEST = 4 << 20


@dataclass(frozen=True, slots=True)
class Opened:
    """A document whose signature held.

    Attributes:
        value: What it says.
        key_id: The trusted key that signed it.
    """

    value: dict[str, Any]
    key_id: str


def seal(value: dict[str, Any], payload_type: str, signer: Signer) -> str:
    """Return the envelope of a document, as JSON text in one line.

    Raises:
        InvalidInput: The document has no JSON form.
    """
    try:
        payload = canonical_json(value).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput("document", f"it has no JSON form ({error})") from error
    signature = signer.sign(_message(payload_type, payload))
    return canonical_json(
        {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": signer.key_id, "sig": base64.b64encode(signature).decode()}],
        }
    )


def open_envelope(text: str | bytes, payload_type: str, verifier: Verifier, *, what: str) -> Opened:
    """Verify an envelope and return what is in it.

    Args:
        text: The envelope.
        payload_type: Kind of document that is expected.
        verifier: Whose signatures count.
        what: Name of the document, for the errors.

    Raises:
        SignatureInvalid: It is no envelope, holds another kind of document, or the signature is of other bytes.
        SignerUntrusted: No trusted key has signed it.
    """
    if len(text) > _LARGEST:
        raise SignatureInvalid(what, f"it is over {_LARGEST} bytes")
    try:
        envelope = json.loads(text)
        found = envelope["payloadType"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signed = [(str(one["keyid"]), base64.b64decode(one["sig"], validate=True)) for one in envelope["signatures"]]
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
        raise SignatureInvalid(what, f"it is no DSSE envelope ({type(error).__name__})") from error
    if found != payload_type:
        raise SignatureInvalid(what, f"it is signed as {str(found)[:100]!r}, not as {payload_type!r}")
    trusted = [(key, signature) for key, signature in signed if verifier.trusts(key)]
    if not trusted:
        raise SignerUntrusted(what, tuple(key[:100] for key, _ in signed[:5]))
    message = _message(payload_type, payload)
    for key, signature in trusted:
        if verifier.verify(key, message, signature):
            return Opened(_document(payload, what), key)
    raise SignatureInvalid(what, "its content is not what was signed")


def _message(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding of DSSE: lengths make it impossible to move bytes between type and payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _document(payload: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise SignatureInvalid(what, "what was signed is not JSON") from error
    if not isinstance(value, dict):
        raise SignatureInvalid(what, "what was signed is not a JSON object")
    return value
