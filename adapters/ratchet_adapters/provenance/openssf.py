"""OpenSSF model-signing bundles of an adapter folder, with an ECDSA key from a PEM file: no network, no log.

It must not know policies. The package `model-signing` is imported when it is used; it is not among the pinned ones.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ratchet_adapters.provenance.errors import KeyExists, KeyUnusable, ModelSigningMissing, SignatureInvalid

__all__ = ["check_installed", "new_ecdsa_keys", "sign_folder", "verify_folder"]


def check_installed() -> None:
    """Raise ModelSigningMissing unless the package can be imported."""
    _part("signing")


def new_ecdsa_keys(private: Path, public: Path) -> None:
    """Make a P-256 key pair, the kind the bundles take; raises KeyExists."""
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise KeyExists(path)
    key = ec.generate_private_key(ec.SECP256R1())
    private.parent.mkdir(parents=True, exist_ok=True)
    private.touch(mode=0o600, exist_ok=False)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def sign_folder(folder: Path, bundle: Path, private_key: Path) -> None:
    """Sign every file of a folder and write the bundle, which must lie outside of it.

    Raises:
        ModelSigningMissing: The package is not installed.
        KeyUnusable: The key is no ECDSA private key without a password.
    """
    try:
        config = _part("signing").Config().use_elliptic_key_signer(private_key=private_key)
    except (ValueError, TypeError, OSError, AttributeError) as error:
        raise KeyUnusable(private_key, f"it is no ECDSA private key ({error})") from error
    bundle.parent.mkdir(parents=True, exist_ok=True)
    config.sign(folder, bundle)


def verify_folder(folder: Path, bundle: Path, public_key: Path) -> None:
    """Verify that a folder holds exactly the files a bundle signs.

    Raises:
        ModelSigningMissing: The package is not installed.
        KeyUnusable: The key is no ECDSA public key.
        SignatureInvalid: The bundle is damaged, of another key, or a file was changed, added or removed.
    """
    try:
        config = _part("verifying").Config().use_elliptic_key_verifier(public_key=public_key)
    except (ValueError, TypeError, OSError, AttributeError) as error:
        raise KeyUnusable(public_key, f"it is no ECDSA public key ({error})") from error
    try:
        config.verify(folder, bundle)
    # Whatever it stumbles over in a file of others, it has not verified it.
    except Exception as error:
        raise SignatureInvalid(str(folder), f"{type(error).__name__}: {str(error)[:300]}".rstrip(": ")) from error


def _part(name: str) -> Any:
    try:
        return importlib.import_module(f"model_signing.{name}")
    except ImportError as error:
        raise ModelSigningMissing(str(error)) from error
