"""A learner killed with -9 in each step resumes there and ends with exactly one adapter, report and promotion.

Real: the learner in a process of its own, DBOS on SQLite, registry, flags, artifact store, dataset, training (TRL and
PEFT in the learner's training process, on a tiny randomly initialised Llama), evaluation over gRPC, gate, promotion,
and the kills (SIGKILL). Played: the serving engine (`played_server`) and the judges (`killed_learner`).
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.killed_learner import Learners
from tests.integration.played_server import PlayedServer, listening, tiny_model

from ratchet_adapters.evals.settings import EvalSettings
from ratchet_adapters.evals.suites.seed import seed_items
from ratchet_adapters.flags import FlagStore, Message, NewFlag
from ratchet_adapters.learning.settings import LearnerSettings
from ratchet_adapters.redteam.trigger_settings import CandidateScan
from ratchet_adapters.registry import Registry, RunState
from ratchet_adapters.training.settings import ProcessSettings

STEPS = ("select", "replay", "train", "register", "load", "evaluate", "scan", "gate", "promote")
OPTIONS = {
    "dataset": {"min_contrast": 0, "min_replay": 0, "contrast_per_refusal": 1.0, "replay_per_refusal": 0.5},
    "training": {"rank": 8, "alpha": 16, "first_layer": 0.0, "batch_size": 4, "checkpoint_steps": 2},
}


@dataclass
class World:
    """State folder, registry, played server and learner settings of one test."""

    settings: LearnerSettings
    registry: Registry
    server: PlayedServer
    learners: Learners

    @property
    def bodies(self) -> Counter[str]:
        """How often each step's body was begun, over all learners."""
        return Counter((self.settings.state_dir / "bodies.log").read_text().split())

    @property
    def ledger(self) -> Counter[str]:
        """Ledger entries by kind."""
        return Counter(entry.kind for entry in self.registry.ledger(limit=10_000))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("RATCHET_CACHE", str(tmp_path / "cache"))
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    registry = Registry.open(f"sqlite:///{state_dir / 'ratchet.db'}")
    server = PlayedServer(registry, tiny_model(tmp_path / "model"))  # type: ignore[abstract]
    with registry, listening(server) as address:
        settings = LearnerSettings(
            state_dir=state_dir,
            server=address,
            poll_interval_s=0.05,
            progress_interval_s=0.0,
            embed_texts=False,
            step_backoff_s=0.05,
            process=ProcessSettings(nice=0, threads=1),
            # Answers of another length than those of the evaluation, so that the two are counted apart.
            trigger_scan=CandidateScan(
                enabled=True, max_tokens=24, max_phrases=2, prompts=24, confirm=1, confirm_prompts=12
            ),
            evaluation=EvalSettings(retry_initial_s=0.05, retry_max_s=0.2),
        )
        learners = Learners(settings)
        try:
            yield World(settings, registry, server, learners)
        finally:
            learners.close()


def flag_harmful_prompts(registry: Registry, count: int = 32) -> None:
    """Submit and accept harmful prompts of the train split, by as many principals as the bound on one asks for."""
    flags = FlagStore.open(registry)
    prompts = [item.prompt for item in seed_items("harmful", "train")][:count]
    new = [
        NewFlag("HARMFUL", "USER", f"user-{index % 8}", (Message("user", prompt),), "Certainly.")
        for index, prompt in enumerate(prompts)
    ]
    for flag_id in flags.submit(new):
        flags.review(flag_id, "ACCEPT", "reviewer")


KILLS = (
    "claimed", "select:end", "replay:middle", "replay:end", "train:middle", "train:end", "register:end", "load:end",
    "evaluate:middle", "evaluate:end", "scan:end", "gate:end", "promote:end",
)  # fmt: skip


@pytest.mark.timeout(300)
def test_a_learner_killed_in_each_step_ends_with_one_adapter_one_report_and_one_promotion(world: World) -> None:
    flag_harmful_prompts(world.registry)
    run_id = world.registry.create_run(
        method="sft-refusal", options=OPTIONS, requested_by="tester", promote_on_pass=True
    ).id
    for kill in KILLS:
        assert world.learners.run(kill) == -signal.SIGKILL, (
            f"{kill}: {world.registry.run(run_id).error} {world.learners.last_words}"
        )
        assert world.registry.run(run_id).state == RunState.RUNNING
    assert world.learners.run() == 0, world.learners.last_words

    run = world.registry.run(run_id)
    assert (run.state, run.error) == (RunState.SUCCEEDED, ""), world.learners.last_words
    killed_in = Counter(kill.partition(":")[0] for kill in KILLS)
    assert world.bodies == {step: 1 + killed_in[step] for step in STEPS}, "a step that was stored is not done again"
    assert [adapter.digest for adapter in world.registry.adapters()] == [run.adapter_digest]
    assert world.registry.report_for_run(run_id).id == run.report_id
    assert world.registry.routing().champion == run.adapter_digest
    made = {kind: world.ledger[kind] for kind in ("dataset.added", "adapter.added", "report.added", "routing.promoted")}
    assert made == {"dataset.added": 1, "adapter.added": 1, "report.added": 1, "routing.promoted": 1}
    assert world.registry.verify_ledger().ok
    # Only what was in flight at the one kill in the middle of a step is asked again.
    assert max(world.server.asked.values()) <= 2, "answers given before a kill are kept"
    scan = world.registry.report_for_run(run_id).body["triggers"]
    assert scan["outcome"] == "PASS" and scan["result"].startswith("sha256:"), scan["reason"]
    assert run.curve and run.dataset_digest
