"""What the integration tests share: one real engine for the whole session, and adapters made to order.

All tests run on the session's event loop, because the engine belongs to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from ratchet.client import AsyncRatchet
from ratchet_adapters.provenance.keys import new_keys
from ratchet_plugins.models.chat import prepare_chat_model
from ratchet_server.app import App, running
from ratchet_server.engine.settings import EngineSettings
from ratchet_server.engine.vllm import VllmEngine
from ratchet_server.settings import Settings

BROKEN_RAIL = """
rails:
  input:
    flows: [ratchet triage input]
custom_data:
  ratchet:
    rails:
      ratchet triage input: {timeout_ms: 1}
"""

LAYERS = 30
HIDDEN = 576
WIDTHS = {"q_proj": 576, "v_proj": 192, "o_proj": 576}


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter on disk."""

    digest: str
    folder: Path


AdapterFactory = Callable[..., AdapterFolder]


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The prepared chat model."""
    return prepare_chat_model()


@pytest.fixture(scope="session")
def engine_settings(model_folder: Path) -> EngineSettings:
    """Settings of the shared engine: small, and two slots so that they can be fought over."""
    return EngineSettings(
        model=model_folder,
        threads=1,
        max_model_len=1024,
        kv_cache_bytes=512 << 20,
        max_loras=2,
        max_loaded=4,
        max_lora_rank=16,
        patience_seconds=0.2,
        fold=True,
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(engine_settings: EngineSettings) -> AsyncIterator[VllmEngine]:
    """A real engine, started once. A test that loads adapters unloads them."""
    engine = VllmEngine(engine_settings)
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture(scope="session")
def adapter_factory(tmp_path_factory: pytest.TempPathFactory) -> AdapterFactory:
    """Write random LoRA folders in PEFT's format, strong enough to change what the model says."""
    import torch
    from safetensors.torch import save_file

    def make(
        seed: int = 1,
        *,
        rank: int = 8,
        scale: float = 0.05,
        modules: tuple[str, ...] = ("q_proj", "v_proj", "o_proj"),
        prefix: str = "base_model.model.model.layers",
        zero: bool = False,
        first_layer: int = 0,
        settings: dict[str, object] | None = None,
    ) -> AdapterFolder:
        random = torch.Generator().manual_seed(seed)
        tensors = {}
        for layer in range(first_layer, first_layer + LAYERS):
            for module in modules:
                name = f"{prefix}.{layer}.self_attn.{module}"
                tensors[f"{name}.lora_A.weight"] = torch.randn(rank, HIDDEN, generator=random) * 0.05
                up = torch.randn(WIDTHS[module], rank, generator=random) * (0.0 if zero else scale)
                tensors[f"{name}.lora_B.weight"] = up
        folder = tmp_path_factory.mktemp(f"adapter-{seed}-")
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": "base",
            "r": rank,
            "lora_alpha": 2 * rank,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": sorted(modules),
        } | (settings or {})
        (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file(tensors, folder / "adapter_model.safetensors")
        content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
        return AdapterFolder(f"sha256:{hashlib.sha256(content).hexdigest()}", folder)

    return make


@pytest.fixture(scope="session")
def receipt_keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Private and public key of the server's receipts."""
    folder = tmp_path_factory.mktemp("keys")
    new_keys(folder / "receipts.key.pem", folder / "receipts.pub.pem")
    return folder / "receipts.key.pem", folder / "receipts.pub.pem"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def app(
    engine: VllmEngine, tmp_path_factory: pytest.TempPathFactory, receipt_keys: tuple[Path, Path]
) -> AsyncIterator[App]:
    """A server around the session's engine; per module, because it replaces a core that engine tests kill."""
    folder = tmp_path_factory.mktemp("server")
    profile = folder / "profiles" / "hurried"
    profile.mkdir(parents=True)
    (profile / "config.yml").write_text(BROKEN_RAIL)
    settings = Settings(
        state_dir=folder / "state",
        rpc={"port": 0},
        observability={"metrics_port": 0},
        rails={"folder": folder / "profiles"},
        routing={"poll_seconds": 0.2},
        engine={"max_lora_rank": 16, "max_loaded": 4},
        signing={"receipt_key": receipt_keys[0]},
    )
    async with running(settings, engine=engine) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(app: App) -> AsyncIterator[AsyncRatchet]:
    """A client of it."""
    async with AsyncRatchet(app.address) as client:
        yield client
