"""All settings of the two processes in one place, each section defined beside what it configures.

The only module that reads the environment: RATCHET_STATE_DIR, RATCHET_RPC__PORT, RATCHET_ENGINE__THREADS, ... and a
YAML file named by RATCHET_CONFIG or --config, which the environment overrides.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from ratchet_adapters.artifacts import ArtifactSettings
from ratchet_adapters.provenance.settings import SigningPolicy
from ratchet_adapters.registry import RolloutPlan
from ratchet_adapters.registry.settings import RegistrySettings
from ratchet_server.observability.settings import ObservabilitySettings
from ratchet_server.rpc.settings import RpcSettings
from ratchet_server.serving.settings import SamplingDefaults
from ratchet_server.traffic.capture import CaptureSettings

DEFAULT_STATE = Path.home() / ".local" / "share" / "ratchet"


class SettingsInvalid(Exception):
    """A setting that does not exist or cannot work; says which."""


class EngineSection(BaseModel, extra="forbid"):
    """The knobs of the engine an operator needs; see `engine/settings.py` for what they do."""

    threads: int | None = Field(None, ge=1)
    max_model_len: int = Field(2048, ge=64)
    kv_cache_bytes: int = Field(1 << 30, ge=1 << 26)
    max_num_seqs: int = Field(64, ge=1)
    max_loras: int = Field(4, ge=1)
    max_loaded: int = Field(8, ge=1)
    max_lora_rank: int = 32
    fold: bool = False
    system_prompt: str | None = None


class RailsSection(BaseModel, extra="forbid"):
    """Which rail profiles there are and which one serves requests that name none."""

    folder: Path | None = None
    """A folder of NeMo Guardrails config folders, one per profile; they join the shipped ones."""

    default: str = "default"


class RoutingSection(BaseModel, extra="forbid"):
    """How a server follows what other servers change."""

    poll_seconds: float = Field(0.25, gt=0)
    """Longest time between two looks; PostgreSQL tells of changes by itself, SQLite does not."""

    rollout: RolloutPlan = Field(default_factory=RolloutPlan)
    """The plan of rollouts that bring none of their own."""

    rollout_seconds: float = Field(1.0, gt=0)
    """Time between two judgements of the rollout under way."""


class Settings(BaseSettings):
    """Everything; unknown keys are refused."""

    model_config = SettingsConfigDict(env_prefix="RATCHET_", env_nested_delimiter="__", extra="forbid", yaml_file=None)

    state_dir: Path = DEFAULT_STATE
    """Database, artifacts and runs of the embedded default."""

    model: str = "smollm2-135m-instruct"
    """Prepared model, local folder or Hugging Face id."""

    rpc: RpcSettings = RpcSettings()
    engine: EngineSection = EngineSection()
    rails: RailsSection = RailsSection()
    scorers: dict[str, dict[str, str | float]] = Field(default_factory=dict)
    """What each scorer is made with, by its name: {toxicity: {model: unbiased}} takes Detoxify's own checkpoint."""

    routing: RoutingSection = RoutingSection()
    registry: RegistrySettings = RegistrySettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    capture: CaptureSettings = CaptureSettings()
    observability: ObservabilitySettings = ObservabilitySettings()
    sampling: SamplingDefaults = SamplingDefaults()
    signing: SigningPolicy = SigningPolicy()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments over environment over file."""
        path = os.environ.get("RATCHET_CONFIG")
        sources = [init_settings, env_settings]
        if path:
            sources.append(YamlConfigSettingsSource(settings_cls, yaml_file=Path(path)))
        return tuple(sources)


# Read elsewhere: by the client, model cache, learner, evaluation and `ratchet keys`. All else must be a field here.
_NOT_SETTINGS = (
    "RATCHET_CONFIG",
    "RATCHET_ADDRESS",
    "RATCHET_CACHE",
    "RATCHET_LEARNER_",
    "RATCHET_EVAL_",
    "RATCHET_KEY_PASSWORD",
)


def load(**overrides: Any) -> Settings:
    """Reads the settings.

    Raises:
        SettingsInvalid: unknown or impossible values, or a config file that cannot be read.
    """
    path = os.environ.get("RATCHET_CONFIG")
    if path and not Path(path).is_file():
        raise SettingsInvalid(f"RATCHET_CONFIG names {path}, which is not a file")
    known = {f"RATCHET_{name.upper()}" for name in Settings.model_fields}
    for name in os.environ:
        stem = name.split("__")[0]
        if name.startswith("RATCHET_") and not name.startswith(_NOT_SETTINGS) and stem not in known:
            raise SettingsInvalid(f"{name} is not a setting; the first word must be one of {', '.join(sorted(known))}")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SettingsInvalid("settings cannot be used:\n  " + "\n  ".join(lines)) from None
