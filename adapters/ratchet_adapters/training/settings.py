"""What a training process may use of the machine.

It must not know any recipe: each method keeps its own, in its own file.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ProcessSettings"]


class ProcessSettings(BaseModel):
    """What a training process may use. Not part of the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = Field(2, ge=1, description="CPU threads.")
    nice: int = Field(10, ge=0, le=19, description="Niceness added to the process, so that serving goes first.")
    stall_seconds: float = Field(900.0, gt=0, description="Without progress for so long the process is ended.")
