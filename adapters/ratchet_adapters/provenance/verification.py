"""Whether an adapter may be loaded under a signing policy.

It must not know the engine. Signatures lie beside the artifact store, in `<folder>/<hex of the digest>.dsse.json` and
`<hex>.openssf.json`: inside the adapter's folder they would change the digest they are of.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ratchet_adapters.artifacts.digest import hex_of, is_digest
from ratchet_adapters.artifacts.manifest import Manifest
from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.provenance import openssf
from ratchet_adapters.provenance.errors import KeyUnusable, SignatureMissing, SigningPolicyInvalid
from ratchet_adapters.provenance.settings import SigningPolicy
from ratchet_adapters.provenance.signing import Ed25519Verifier
from ratchet_adapters.provenance.statement import AdapterStatement, open_statement

__all__ = ["Verified", "check_policy", "keep_signature", "signature_path", "verify_adapter"]

Kind = Literal["dsse", "openssf"]


@dataclass(frozen=True, slots=True)
class Verified:
    """What was verified of an adapter.

    Attributes:
        digest: Of the adapter.
        statement: The statement whose signature held; None when the policy did not ask and there was none.
        openssf: Whether an OpenSSF bundle was verified.
    """

    digest: str
    statement: AdapterStatement | None
    openssf: bool


def signature_path(signatures: Path, digest: str, kind: Kind = "dsse") -> Path:
    """Return where the signature of a digest is, or would be."""
    if not is_digest(digest):
        raise InvalidInput("digest", "it is not of the form sha256:<64 hex digits>")
    return signatures / f"{hex_of(digest)}.{kind}.json"


def keep_signature(signatures: Path, digest: str, text: str, kind: Kind = "dsse") -> Path:
    """Put a signature where `verify_adapter` looks for it, whole or not at all; an older one is replaced."""
    path = signature_path(signatures, digest, kind)
    signatures.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=signatures, prefix=".signature-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def check_policy(policy: SigningPolicy) -> None:
    """Refuse a policy that nothing could fulfil; for the start of a server, before anything is loaded.

    Raises:
        SigningPolicyInvalid: It asks for signatures and trusts nobody.
        KeyUnusable: A key it names cannot be read.
        ModelSigningMissing: It asks for OpenSSF bundles and the package is not installed.
    """
    if policy.mode != "off":
        if not policy.trusted_keys:
            raise SigningPolicyInvalid(f"mode is {policy.mode} and trusted_keys is empty")
        Ed25519Verifier.read(policy.trusted_keys)
    if policy.openssf != "off":
        if policy.openssf_key is None:
            raise SigningPolicyInvalid(f"openssf is {policy.openssf} and openssf_key is not set")
        if not policy.openssf_key.is_file():
            raise KeyUnusable(policy.openssf_key, "there is no such file")
        openssf.check_installed()


def verify_adapter(adapter: Path | str, policy: SigningPolicy, signatures: Path) -> Verified:
    """Verify an adapter before it is loaded.

    Args:
        adapter: Its folder, whose files are hashed here, or a digest whose folder the artifact store has just
            verified. OpenSSF bundles need the folder.
        policy: What is asked.
        signatures: Folder of signatures.

    Raises:
        SignatureMissing: The policy requires a signature and there is none.
        SignatureInvalid: A signature is of other content.
        SignerUntrusted: Only keys that are not trusted have signed.
        SigningPolicyInvalid, KeyUnusable, ModelSigningMissing: As `check_policy`.
        ArtifactRefused: The folder cannot be an adapter.
    """
    check_policy(policy)
    digest = adapter if isinstance(adapter, str) else Manifest.read(adapter).digest
    statement = None
    if policy.mode != "off" and (text := _read(signatures, digest, "dsse", policy.mode)) is not None:
        statement = open_statement(text, digest, Ed25519Verifier.read(policy.trusted_keys))
    checked = False
    if policy.openssf != "off" and _read(signatures, digest, "openssf", policy.openssf) is not None:
        if isinstance(adapter, str) or policy.openssf_key is None:
            raise InvalidInput("adapter", "an OpenSSF bundle is of files, so the folder is needed, not the digest")
        openssf.verify_folder(adapter, signature_path(signatures, digest, "openssf"), policy.openssf_key)
        checked = True
    return Verified(digest, statement, checked)


def _read(signatures: Path, digest: str, kind: Kind, mode: str) -> bytes | None:
    path = signature_path(signatures, digest, kind)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if mode == "required":
            raise SignatureMissing(digest, str(path)) from None
        return None
