"""The learner's settings from the server's: both processes share one database and one artifact store."""

from __future__ import annotations

from ratchet_adapters.learning import LearnerSettings
from ratchet_server.settings import Settings


def learner_settings(settings: Settings) -> LearnerSettings:
    """RATCHET_LEARNER_* variables fill in what is the learner's alone."""
    return LearnerSettings(
        state_dir=settings.state_dir,
        registry=settings.registry,
        artifacts=settings.artifacts,
    )
