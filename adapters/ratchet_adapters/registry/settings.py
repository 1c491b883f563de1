"""Settings section of the database that registry and flags share."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ratchet_adapters.registry.policy import PromotionPolicy

__all__ = ["RegistrySettings", "default_url"]


def default_url(state_dir: Path) -> str:
    """Return the URL of the embedded default: an SQLite file in the state folder."""
    return f"sqlite:///{state_dir / 'ratchet.db'}"


class RegistrySettings(BaseModel):
    """Where the database is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = Field(default=None, description="sqlite:///file or postgresql://...; empty: in the state folder")
    busy_timeout_seconds: float = Field(default=30.0, gt=0, le=600, description="how long a writer waits for another")

    policy: PromotionPolicy = Field(
        default_factory=PromotionPolicy, description="what a promotion needs besides a PASS; the same on every process"
    )

    def database_url(self, state_dir: Path) -> str:
        """Return the URL, given the state folder that holds the default database."""
        return self.url or default_url(state_dir)
