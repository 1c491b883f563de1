"""Settings section of signatures: whether an adapter must be signed to be loaded, and by whom."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["SigningPolicy"]


class SigningPolicy(BaseModel):
    """What is asked of an adapter before it is loaded.

    `off`: nothing. `when_signed`: a signature that is there must hold and be of a trusted key. `required`: there must
    be one. `openssf` asks in the same way for an OpenSSF model-signing bundle beside it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["off", "when_signed", "required"] = Field(default="off", description="what a load asks for")
    trusted_keys: tuple[Path, ...] = Field(default=(), description="PEM files of Ed25519 public keys")
    openssf: Literal["off", "when_signed", "required"] = Field(
        default="off", description="the same for an OpenSSF model-signing bundle"
    )
    openssf_key: Path | None = Field(default=None, description="PEM file of the ECDSA public key of those bundles")
    signatures: Path | None = Field(default=None, description="folder; empty: signatures/ in the state folder")
    receipt_key: Path | None = Field(
        default=None, description="PEM file of the Ed25519 private key that signs receipts; empty: they are not signed"
    )
    receipt_key_password: SecretStr = Field(default=SecretStr(""), description="opens that key; empty: it is open")

    def signatures_dir(self, state_dir: Path) -> Path:
        """Return the folder of signatures, given the state folder that holds the default one."""
        return self.signatures or state_dir / "signatures"
