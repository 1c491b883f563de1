"""Which Ray cluster to use, and how much of it.

It must not know what is computed there.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["RaySettings"]


class RaySettings(BaseModel):
    """A Ray cluster and one job's share of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = Field(
        "",
        description='Of the cluster: "auto" for the one this machine belongs to, or "host:6379". Empty: a cluster of '
        "this machine alone, on loopback, started for the job and ended with it.",
    )
    workers: int = Field(2, ge=1, le=1024, description="Processes that share the work.")
    cpus_per_worker: float = Field(1.0, gt=0, description="Cores of each; its threads, rounded down.")
    gpus_per_worker: float = Field(0.0, ge=0, description="GPUs of each. Above 0 gradients travel by NCCL, else Gloo.")
    max_failures: int = Field(3, ge=0, description="Times that workers are started again after one of them died.")
    object_store_bytes: int = Field(
        200 * 2**20,
        ge=80 * 2**20,
        description="Shared memory of a cluster of our own; training and scoring need little.",
    )

    @field_validator("address")
    @classmethod
    def _no_client(cls, value: str) -> str:
        if value.startswith("ray://"):
            raise ValueError(
                "the Ray client (ray://) can not carry a training; run the learner on a machine of the cluster and "
                'give "auto" or host:port'
            )
        return value

    @property
    def threads(self) -> int:
        """CPU threads of one worker."""
        return max(1, int(self.cpus_per_worker))
