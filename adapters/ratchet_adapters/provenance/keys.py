"""Ed25519 keys in PEM files, made and kept offline.

It must not know what is signed. The private key is needed where something is signed and nowhere else.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from ratchet_adapters.artifacts.digest import bytes_digest
from ratchet_adapters.provenance.errors import KeyExists, KeyUnusable

__all__ = ["key_id", "new_keys", "read_private_key", "read_public_key"]

_LARGEST = 1 << 16


def new_keys(private: Path, public: Path, *, password: str = "") -> str:
    """Make a key pair and write both halves, the private one readable by its owner only.

    Args:
        private: PKCS#8 PEM file to make.
        public: SubjectPublicKeyInfo PEM file to make.
        password: Encrypts the private key; empty: it is not encrypted.

    Returns:
        The key's id.

    Raises:
        KeyExists: One of the files is there already; neither is changed.
        OSError: The folder cannot be written.
    """
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise KeyExists(path)
    key = Ed25519PrivateKey.generate()
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    _write(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
    try:
        _write(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except BaseException:
        private.unlink()
        raise
    return key_id(key.public_key())


def read_private_key(path: Path, *, password: str = "") -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        KeyUnusable: It is not there, is damaged, is no Ed25519 key, or the password is wrong or missing.
    """
    try:
        key = load_pem_private_key(_read(path), password.encode() if password else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(path, f"it is no private key that this password opens ({type(error).__name__})") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(path, "it is not an Ed25519 key")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        KeyUnusable: It is not there, is damaged, is a private key, or no Ed25519 key.
    """
    data = _read(path)
    if b"PRIVATE KEY" in data:
        raise KeyUnusable(path, "it is the private key, which has no place here; name the public one")
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(path, f"it is no public key ({type(error).__name__})") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable(path, "it is not an Ed25519 key")
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """Return "sha256:<64 hex>" of a public key's DER form."""
    return bytes_digest(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise KeyUnusable(path, error.strerror or str(error)) from error
    if len(data) > _LARGEST:
        raise KeyUnusable(path, "it is too large for a key")
    return data


def _write(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # O_EXCL: nobody's key is replaced, and no link is followed; the mode holds from the first byte on.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise KeyExists(path) from error
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
