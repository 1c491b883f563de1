"""Settings section of the artifact store."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ArtifactSettings"]


class ArtifactSettings(BaseModel):
    """Where artifacts live and what an adapter may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = Field(default=None, description="fsspec URL or folder; empty: artifacts/ in the state folder")
    cache: Path | None = Field(default=None, description="local copies of a remote store; empty: in the state folder")
    max_rank: int = Field(default=64, ge=1, le=512, description="highest LoRA rank that is accepted")
    max_adapter_bytes: int = Field(default=2 << 30, ge=1024, description="largest adapter file that is accepted")

    def store_url(self, state_dir: Path) -> str:
        """Return the URL of the store, given the state folder that holds the default one."""
        return self.url or str(state_dir / "artifacts")

    def cache_dir(self, state_dir: Path) -> Path:
        """Return the folder for local copies of a remote store."""
        return self.cache or state_dir / "artifact-cache"
