"""The critic of constitutional runs: who it is, and how a dataset's rows are put before it.

Must not know what critique and revision are made of: that is `training.constitution`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ratchet_adapters.datasets.dataset import Row

if TYPE_CHECKING:
    from ratchet_adapters.training.constitution.critic import Critic

__all__ = ["CriticSettings", "reviser"]


class CriticSettings(BaseModel):
    """Who criticises and revises in runs of the method `constitutional`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    critic: Literal["served", "endpoint", "template"] = Field(
        "served",
        description="served: the base model that the server hosts. endpoint: any OpenAI-compatible endpoint, set by "
        "RATCHET_CRITIC_URL, RATCHET_CRITIC_MODEL and RATCHET_CRITIC_API_KEY. template: no model, for one too small to "
        "judge a text; it teaches no more than refusal templates do.",
    )
    principles: Path | None = Field(None, description="YAML file of principles; none: the shipped ones.")
    rounds: int = Field(1, ge=1, le=8, description="Principles a draft is revised by, one after the other.")


def reviser(
    settings: CriticSettings, *, server: str, base_fingerprint: str, kept: Path, seed: int
) -> Callable[[Sequence[Row]], Awaitable[tuple[tuple[Row, ...], Mapping[str, Any]]]]:
    """Return what a dataset build calls with its rows; it gives back the revised rows and lines for the manifest.

    Args:
        settings: Who criticises, by what.
        server: Address of the serving engine.
        base_fingerprint: Of the model it serves.
        kept: Folder of the critic's answers; an interrupted run goes on behind those there are.
        seed: Of the choice of principles.
    """

    async def revised(rows: Sequence[Row]) -> tuple[tuple[Row, ...], Mapping[str, Any]]:
        from ratchet_adapters.training.constitution.principles import read_constitution
        from ratchet_adapters.training.constitution.revise import revise
        from ratchet_adapters.training.trainers.ratings import safety_judge

        constitution = read_constitution(settings.principles)
        async with _critic(settings, server, base_fingerprint, kept, seed) as critic:
            # By wording: the scorers are the gate's, and what trains must not be what measures.
            found = await revise(rows, critic, safety_judge("rows"), constitution, rounds=settings.rounds, seed=seed)
        return found.rows, found.manifest

    return revised


@asynccontextmanager
async def _critic(
    settings: CriticSettings, server: str, base_fingerprint: str, kept: Path, seed: int
) -> AsyncIterator[Critic]:
    from ratchet_adapters.training.constitution.critic import ChatCritic, TemplateCritic
    from ratchet_adapters.training.constitution.kept import KeptChat

    if settings.critic == "template":
        yield TemplateCritic(seed=seed)
    elif settings.critic == "endpoint":
        from ratchet_adapters.training.constitution.endpoint import EndpointChat, EndpointSettings

        async with EndpointChat(EndpointSettings()) as chat:
            yield ChatCritic(KeptChat(chat, kept))
    else:
        from ratchet_adapters.training.constitution.served import ServedChat

        async with ServedChat(server, base_fingerprint=base_fingerprint) as served:
            yield ChatCritic(KeptChat(served, kept))
