"""The server put together: which parts there are, in which order they start and stop. No behaviour of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from ratchet_adapters.artifacts import ArtifactStore, open_store
from ratchet_adapters.flags import FlagStore
from ratchet_adapters.provenance.settings import SigningPolicy
from ratchet_adapters.provenance.signing import Ed25519Signer, Signer
from ratchet_adapters.provenance.verification import check_policy, verify_adapter
from ratchet_adapters.registry import Registry
from ratchet_plugins.models.chat import fingerprint, prepare_chat_model
from ratchet_plugins.scorers.registry import load_scorer
from ratchet_server.engine.settings import EngineSettings
from ratchet_server.engine.vllm import VllmEngine
from ratchet_server.observability.exporter import Exporter
from ratchet_server.observability.exporter import start as start_exporter
from ratchet_server.observability.metrics import Metrics
from ratchet_server.rails.profiles import RailProfiles
from ratchet_server.rails.scoring import ScorerPool
from ratchet_server.routing.intake import Intake
from ratchet_server.routing.router import Router
from ratchet_server.routing.swap import Swaps, Verify
from ratchet_server.rpc.adapters import AdapterService
from ratchet_server.rpc.engine import EngineService
from ratchet_server.rpc.errors import status_name
from ratchet_server.rpc.feedback import FeedbackService
from ratchet_server.rpc.inference import InferenceService
from ratchet_server.rpc.learning import LearningService
from ratchet_server.rpc.server import RpcServer, Servicers
from ratchet_server.serving.base_model import BaseModel
from ratchet_server.serving.folding import keep_champion_folded
from ratchet_server.serving.generation import EngineGenerate
from ratchet_server.serving.path import RequestPath
from ratchet_server.serving.rollout import RolloutReport, watch_rollout
from ratchet_server.serving.runs import RunWatch
from ratchet_server.serving.scoring import ExchangeScores
from ratchet_server.serving.shadow import Shadow
from ratchet_server.serving.watch import watch_engine
from ratchet_server.settings import Settings
from ratchet_server.traffic.arms import ArmCounter
from ratchet_server.traffic.capture import Capture

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class App:
    """A running server."""

    settings: Settings
    registry: Registry
    artifacts: ArtifactStore
    flags: FlagStore
    engine: VllmEngine
    router: Router
    swaps: Swaps
    capture: Capture
    metrics: Metrics
    exporter: Exporter
    rpc: RpcServer

    @property
    def address(self) -> str:
        """host:port of the gRPC server."""
        return f"{self.settings.rpc.host}:{self.rpc.port}"


Say = Callable[[str], None]


async def base_model(settings: Settings, say: Say) -> BaseModel:
    """Prepares the base model if needed and fingerprints it."""
    path = await asyncio.to_thread(prepare_chat_model, settings.model, progress=say)
    return BaseModel(settings.model, path, await asyncio.to_thread(fingerprint, path))


def engine_settings(settings: Settings, base: BaseModel) -> EngineSettings:
    """The engine's settings from the operator's section."""
    return EngineSettings(model=base.path, **settings.engine.model_dump())


def signature_check(settings: Settings) -> Verify:
    """What an adapter's signature is held against before it is loaded."""
    policy, folder = settings.signing, settings.signing.signatures_dir(settings.state_dir)

    def check(digest: str, files: Path) -> None:
        # A bundle of OpenSSF's is of files; the digest covers them all and was compared a moment ago.
        verify_adapter(digest if policy.openssf == "off" else files, policy, folder)

    return check


def receipt_signer(policy: SigningPolicy) -> Signer | None:
    """What signs receipts; None when the policy names no key. Raises KeyUnusable."""
    if policy.receipt_key is None:
        return None
    return Ed25519Signer.read(policy.receipt_key, password=policy.receipt_key_password.get_secret_value())


@asynccontextmanager
async def running(settings: Settings, say: Say = log.info, *, engine: VllmEngine | None = None) -> AsyncIterator[App]:
    """Starts the server; on leaving, drains and stops it.

    Args:
        settings: All of them.
        say: Told what is being done.
        engine: A running engine that outlives the server; None: the server has its own.

    Order: what can refuse cheaply (port, database, rail configurations) before the engine, which takes longest.

    Raises:
        SigningPolicyInvalid, KeyUnusable, ModelSigningMissing: nobody could check or make the signatures asked for.
        BindRefused, ExporterUnavailable, RegistryUnavailable, RailConfigError, ScorerError, EngineStartFailed:
            the server does not start; each says what to do.
    """
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(check_policy, settings.signing)
        signer = receipt_signer(settings.signing)
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        say("opening the registry")
        registry = await asyncio.to_thread(
            Registry.open,
            settings.registry.database_url(settings.state_dir),
            policy=settings.registry.policy,
        )
        stack.push_async_callback(asyncio.to_thread, registry.close)
        flags = FlagStore.open(registry)
        artifacts = open_store(
            settings.artifacts.store_url(settings.state_dir), cache=settings.artifacts.cache_dir(settings.state_dir)
        )
        observed = settings.observability
        metrics = Metrics(CollectorRegistry(), max_adapters=observed.max_adapters, max_profiles=observed.max_profiles)
        metrics.engine(0, 0, False)
        exporter = start_exporter(metrics, observed.metrics_host, observed.metrics_port)
        stack.callback(exporter.close)
        base = await base_model(settings, say)

        own = engine is None
        engine = engine or VllmEngine(engine_settings(settings, base))
        router = Router(registry, await asyncio.to_thread(registry.routing))
        swaps = Swaps(
            registry, artifacts, engine, router, metrics,
            keep=settings.engine.max_loaded, verify=signature_check(settings),
        )  # fmt: skip

        say("loading scorers and rails")
        pool = ScorerPool(lambda name: load_scorer(name, **settings.scorers.get(name, {})))
        stack.callback(pool.close)
        scores = ExchangeScores(pool)
        await asyncio.to_thread(scores.warm_up)
        generate = EngineGenerate(engine, router, swaps)
        profiles = await RailProfiles.load(
            settings.rails.folder, scorers=pool, generate=generate, default=settings.rails.default
        )
        capture = Capture(flags, settings.capture, metrics.flag)
        arms = ArmCounter(registry)
        shadow = Shadow(engine, swaps, scores, arms, metrics.rollouts)
        path = RequestPath(
            engine, router, swaps, profiles, scores, capture, metrics, status_name, arms=arms, shadow=shadow
        )
        intake = Intake(
            registry,
            artifacts,
            swaps,
            base,
            max_rank=min(settings.artifacts.max_rank, settings.engine.max_lora_rank),
            max_bytes=settings.artifacts.max_adapter_bytes,
        )
        rpc = RpcServer(
            settings.rpc,
            Servicers(
                inference=InferenceService(path, base, settings.sampling, signer),
                adapters=AdapterService(registry, router, swaps, intake, settings.routing.rollout),
                feedback=FeedbackService(flags, capture, metrics),
                learning=LearningService(registry),
                engine=EngineService(registry, engine, router, swaps, base, profiles),
            ),
        )
        await rpc.start()
        stack.push_async_callback(rpc.stop)

        if own:
            say(f"starting the engine ({base.name}, {engine.settings.compute_threads} threads)")
            stack.push_async_callback(engine.stop)
            await engine.start()
        capture.start()
        stack.push_async_callback(capture.close)
        await swaps.start(settings.routing.poll_seconds)
        stack.push_async_callback(swaps.stop)
        watcher = asyncio.create_task(watch_engine(engine, rpc.serving, metrics), name="engine-watch")
        stack.callback(watcher.cancel)
        runs = asyncio.create_task(RunWatch(registry, metrics).watch(), name="run-watch")
        stack.callback(runs.cancel)
        stack.push_async_callback(asyncio.to_thread, arms.write)
        report = RolloutReport(registry, metrics.rollouts)
        seconds = settings.routing.rollout_seconds
        for name, work in (
            ("shadow", shadow.run()),
            ("rollout", watch_rollout(registry, router, swaps, arms, report, seconds=seconds)),
        ):
            task = asyncio.create_task(work, name=name)
            stack.callback(task.cancel)
        if settings.engine.fold:
            folding = asyncio.create_task(keep_champion_folded(engine, lambda: router.routing.champion), name="folding")
            stack.callback(folding.cancel)
        await rpc.serving(True)
        # Drain before anything is torn down: the first to stop is the last pushed.
        stack.push_async_callback(rpc.stop)
        app = App(settings, registry, artifacts, flags, engine, router, swaps, capture, metrics, exporter, rpc)
        say(f"serving on {app.address}, metrics on {exporter.url}")
        yield app
