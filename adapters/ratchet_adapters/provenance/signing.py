"""The ports of signing and verifying bytes, and their Ed25519 form.

It must not know what the bytes mean. A key in an HSM or a cloud's key service is another `Signer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ratchet_adapters.provenance.keys import key_id, read_private_key, read_public_key

__all__ = ["Ed25519Signer", "Ed25519Verifier", "Signer", "Verifier"]


@runtime_checkable
class Signer(Protocol):
    """Signs bytes with one key. Safe from several threads."""

    @property
    def key_id(self) -> str:
        """The id of the key, which a verifier finds it by."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        ...


@runtime_checkable
class Verifier(Protocol):
    """Verifies signatures of the keys it trusts. Safe from several threads."""

    def trusts(self, key_id: str) -> bool:
        """Say whether a key is trusted."""
        ...

    def verify(self, key_id: str, message: bytes, signature: bytes) -> bool:
        """Say whether a trusted key made the signature of exactly this message; False for every other key."""
        ...


class Ed25519Signer:
    """A `Signer` with a key of this process."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Sign with a key."""
        self._key = key
        self._key_id = key_id(key.public_key())

    @classmethod
    def read(cls, path: Path, *, password: str = "") -> Self:
        """Sign with the key in a PEM file; raises KeyUnusable."""
        return cls(read_private_key(path, password=password))

    @property
    def key_id(self) -> str:
        """See `Signer.key_id`."""
        return self._key_id

    def sign(self, message: bytes) -> bytes:
        """See `Signer.sign`."""
        return self._key.sign(message)


class Ed25519Verifier:
    """A `Verifier` that trusts the public keys it was given."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        """Trust some keys."""
        self._keys: Mapping[str, Ed25519PublicKey] = {key_id(key): key for key in keys}

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Self:
        """Trust the keys in some PEM files; raises KeyUnusable."""
        return cls([read_public_key(path) for path in paths])

    def trusts(self, key_id: str) -> bool:
        """See `Verifier.trusts`."""
        return key_id in self._keys

    def verify(self, key_id: str, message: bytes, signature: bytes) -> bool:
        """See `Verifier.verify`."""
        key = self._keys.get(key_id)
        if key is None:
            return False
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True
