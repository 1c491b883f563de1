"""Signed receipts: what the server said about one answer, verifiable offline by whoever holds the answer.

It must not know gRPC: a receipt comes as the JSON values of its message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.provenance.envelope import open_envelope, seal
from ratchet_adapters.provenance.errors import SignatureInvalid
from ratchet_adapters.provenance.signing import Signer, Verifier

__all__ = ["PAYLOAD_TYPE", "VerifiedReceipt", "open_receipt", "sign_receipt"]

PAYLOAD_TYPE = "application/vnd.ratchet.receipt.v1+json"


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A receipt whose signature held.

    Attributes:
        fields: The receipt, field names as in the .proto.
        answer_sha256: Hex SHA-256 of the answer's UTF-8 text.
        key_id: Who signed.
    """

    fields: dict[str, Any]
    answer_sha256: str
    key_id: str


def sign_receipt(fields: Mapping[str, Any], answer: str, signer: Signer) -> str:
    """Return a signed receipt as one line of JSON.

    Args:
        fields: The receipt's JSON values.
        answer: The text that was released to the client; only its hash goes into the receipt.
        signer: The server's.

    Raises:
        InvalidInput: The receipt names no request, or has no JSON form.
    """
    if not fields.get("request_id"):
        raise InvalidInput("request_id", "a receipt without one is of no answer in particular")
    return seal({"receipt": dict(fields), "answer_sha256": _sha256(answer)}, PAYLOAD_TYPE, signer)


def open_receipt(text: str | bytes, verifier: Verifier, *, answer: str | bytes | None = None) -> VerifiedReceipt:
    """Verify a signed receipt.

    Args:
        text: What `sign_receipt` gave.
        verifier: Whose signatures count.
        answer: The answer it is said to belong to, as text or its UTF-8 bytes; None: not compared.

    Raises:
        SignatureInvalid: It was changed, is no receipt, or belongs to another answer.
        SignerUntrusted: No trusted key has signed it.
    """
    opened = open_envelope(text, PAYLOAD_TYPE, verifier, what="the receipt")
    fields, found = opened.value.get("receipt"), opened.value.get("answer_sha256")
    if not isinstance(fields, dict) or not isinstance(found, str):
        raise SignatureInvalid("the receipt", "it holds no receipt")
    if answer is not None and _sha256(answer) != found:
        raise SignatureInvalid("the receipt", "it belongs to another answer")
    return VerifiedReceipt(fields, found, opened.key_id)


def _sha256(answer: str | bytes) -> str:
    if isinstance(answer, bytes):
        return hashlib.sha256(answer).hexdigest()
    # A model can emit half of a surrogate pair; its bytes are not UTF-8, and yet they must have one hash.
    return hashlib.sha256(answer.encode("utf-8", "surrogatepass")).hexdigest()
