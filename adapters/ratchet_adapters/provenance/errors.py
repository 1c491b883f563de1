"""Typed errors of lineage, signatures and receipts. Each says what was wrong and what to do about it."""

from __future__ import annotations

from pathlib import Path

from ratchet_adapters.errors import AdaptersError

__all__ = [
    "EvidenceInvalid",
    "HeadNotFound",
    "KeyExists",
    "KeyUnusable",
    "LedgerBroken",
    "LineageBroken",
    "ModelSigningMissing",
    "ProvenanceError",
    "SignatureInvalid",
    "SignatureMissing",
    "SignerUntrusted",
    "SigningPolicyInvalid",
]


class ProvenanceError(AdaptersError):
    """Base of the errors of this package."""


class KeyUnusable(ProvenanceError):
    """A key file can not be read or is of another kind."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"The key {path} cannot be used: {why}. Name a PEM file that `ratchet keys new` wrote.")
        self.path = path
        self.why = why


class KeyExists(ProvenanceError):
    """A key is never overwritten: what it signed could not be verified any more."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists, and a key is never overwritten. Choose another name, or move it away.")
        self.path = path


class SignatureMissing(ProvenanceError):
    """The policy wants a signature and there is none."""

    def __init__(self, digest: str, where: str) -> None:
        super().__init__(
            f"Adapter {digest} has no signature in {where}, and the policy requires one, so it is not loaded. Sign it "
            "where the private key is: `ratchet adapters sign`."
        )
        self.digest = digest


class SignatureInvalid(ProvenanceError):
    """A signature does not fit what it is said to be of."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"The signature of {what} does not hold: {why}. Do not use it; have it signed again.")
        self.what = what
        self.why = why


class SignerUntrusted(ProvenanceError):
    """Only keys that are not trusted have signed."""

    def __init__(self, what: str, key_ids: tuple[str, ...]) -> None:
        super().__init__(
            f"{what} is signed by {', '.join(key_ids) or 'nobody'}, and none of the trusted keys has signed it. Have "
            "it signed with a trusted key, or add the signer's public key to the trusted ones."
        )
        self.what = what
        self.key_ids = key_ids


class SigningPolicyInvalid(ProvenanceError):
    """The policy asks for signatures and nothing could ever fulfil it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The signing policy cannot work: {why}. Correct the settings of the section `signing`.")
        self.why = why


class ModelSigningMissing(ProvenanceError):
    """OpenSSF bundles need a package that is not installed."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"OpenSSF model signatures need the package model-signing, which cannot be imported ({why}). "
            "Install it with: pip install model-signing pyopenssl"
        )
        self.why = why


class LedgerBroken(ProvenanceError):
    """Nothing is claimed from a ledger that does not verify."""

    def __init__(self, seq: int | None, why: str) -> None:
        super().__init__(
            f"The ledger does not verify at entry {seq}: {why}. No evidence is made from it. See "
            "`ratchet ledger verify`."
        )
        self.seq = seq
        self.why = why


class HeadNotFound(ProvenanceError):
    """An exported head is not in the ledger any more."""

    def __init__(self, expected: str, entries: int) -> None:
        super().__init__(
            f"No entry of the ledger has the hash {expected}: of the {entries} entries there are, none is the one that "
            "was exported. Its end was cut off or rewritten. Restore the database from a backup."
        )
        self.expected = expected
        self.entries = entries


class LineageBroken(ProvenanceError):
    """Registry, artifacts and ledger contradict each other about an adapter."""

    def __init__(self, digest: str, why: str) -> None:
        super().__init__(
            f"The lineage of {digest} contradicts itself: {why}. Nothing is claimed about it. Restore what was changed "
            "from a backup."
        )
        self.digest = digest
        self.why = why


class EvidenceInvalid(ProvenanceError):
    """A folder of evidence is damaged, was changed, or is none."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"The evidence in {path} does not hold: {why}. Have it written again from the registry.")
        self.path = path
        self.why = why
