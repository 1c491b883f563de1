"""The first half of a run: from reviewed flags to a trained adapter that the registry knows and nobody is served by.

Must not know how a dataset is mixed or a model trained, nor how the candidate is judged.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from ratchet_adapters.artifacts import AdapterFileError, inspect_adapter
from ratchet_adapters.datasets.training_flag import training_flag
from ratchet_adapters.flags import Flag, FlagState
from ratchet_adapters.learning.ancestry import named_adapters
from ratchet_adapters.learning.answers import BaseAnswers
from ratchet_adapters.learning.critics import reviser
from ratchet_adapters.learning.errors import BaseModelUnusable, CandidateRefused, NothingToLearn, ServerUnavailable
from ratchet_adapters.learning.progress import RunProgress, Tally
from ratchet_adapters.learning.serving import run_until_stopped
from ratchet_adapters.learning.suites import evaluation_suites
from ratchet_adapters.learning.trail import Trail
from ratchet_adapters.learning.workbench import Workbench
from ratchet_adapters.registry import AdapterRecord, CurvePoint, DatasetRecord
from ratchet_adapters.training.constitutional import CONSTITUTIONAL
from ratchet_adapters.training.job import Progress, TrainingJob
from ratchet_adapters.training.methods import method

__all__ = ["register", "replay", "select", "train"]

_PAGE = 1000


def select(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
    """Fix which flags this run learns from: those accepted now, whatever is reviewed later.

    Raises:
        UnknownMethod, RunOptionsInvalid: The run asks for what no learner could carry out.
        NothingToLearn: No flag has been accepted, and the method learns from flags.
        ServerUnavailable: The serving engine is not ready, so the base model is not known.
    """
    run = bench.registry.run(trail.run_id)
    options = bench.settings.options_of(run.method, run.options)
    status = bench.engine().status()
    if not status.ready:
        raise ServerUnavailable(bench.settings.server, "its engine is not ready yet")
    ids = [flag.id for flag in _accepted(bench)]
    if not ids and options.dataset.min_refusals and method(run.method).learns:
        raise NothingToLearn(bench.flags.counts()["state"][FlagState.OPEN])
    progress.done(f"{len(ids)} accepted flags")
    return trail.with_(
        method=run.method,
        options=run.options,
        promote_on_pass=run.promote_on_pass,
        scans=bench.settings.trigger_scan.enabled,
        base_fingerprint=status.base_fingerprint,
        model_path=status.model_path,
        flags=bench.artifacts.put_json(ids),
    )


def replay(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
    """Let the base model answer the benign prompts, and mix the dataset version from those answers and the flags.

    Raises:
        TooFewRows: Too few of the flags may teach.
        TargetUnavailable: The server cannot be reached; what was answered is kept.
    """
    from ratchet_adapters.datasets.builder import build

    ids = set(bench.artifacts.fetch_json(trail.flags))
    flags = [training_flag(flag) for flag in _accepted(bench) if flag.id in ids]
    settings = bench.settings
    mix = settings.options_of(trail.method, trail.options or {}).dataset
    revised = None
    if trail.method == CONSTITUTIONAL:
        revised = reviser(
            settings.constitution,
            server=settings.server,
            base_fingerprint=trail.base_fingerprint,
            kept=settings.state_dir / "critiques",
            seed=mix.seed,
        )
    answers = BaseAnswers(
        settings.server, settings.evaluation, settings.state_dir / "answers", base_fingerprint=trail.base_fingerprint
    )
    dataset = run_until_stopped(
        lambda: build(
            flags,
            answers=answers,
            settings=mix,
            base_fingerprint=trail.base_fingerprint,
            suites=evaluation_suites(settings.suites),
            embed=bench.embedder(),
            revise=revised,
        ),
        bench.stopping,
        on_tick=lambda: progress.report(
            answers.there / max(1, answers.asked), f"{answers.there} of {answers.asked} answers of the base model"
        ),
    )
    folder = bench.run_folder(trail.run_id) / "dataset"
    # What a killed attempt left half-written must not become part of the artifact.
    shutil.rmtree(folder, ignore_errors=True)
    digest = bench.artifacts.put_folder(dataset.write(folder))
    counts = dict(dataset.manifest["counts"])
    bench.registry.add_dataset(DatasetRecord(digest, trail.run_id, dataset.flag_ids, counts, datetime.now(UTC)))
    bench.registry.update_run(trail.run_id, dataset_digest=digest)
    progress.done(", ".join(f"{count} {name}" for name, count in counts.items()))
    return trail.with_(dataset=digest)


def train(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
    """Train the adapter, here or on a cluster, from its last checkpoint if there is one, and store its files.

    Raises:
        BaseModelUnusable: The base model is not here, or is not the one that is served.
        ArtifactMissing: An adapter that the run's options name is not in the store.
        TrainingError: Training failed.
    """
    from ratchet_adapters.training.backends.backend import training_backend

    settings = bench.settings
    folder = bench.run_folder(trail.run_id)
    recipe = settings.options_of(trail.method, trail.options or {}).training
    job = TrainingJob(
        method=trail.method,
        # A method that learns from no rows is handed a folder without any.
        dataset=bench.artifacts.fetch(trail.dataset) if trail.dataset else folder,
        model=_base_model(trail),
        base_fingerprint=trail.base_fingerprint,
        output=folder / "adapter",
        work=folder / "training",
        settings=recipe,
        process=settings.process,
        inputs={digest: bench.artifacts.fetch(digest) for digest in named_adapters(recipe)},
    )
    # What a killed learner had already shown; steps that are done again replace their points.
    progress.curve(bench.registry.run(trail.run_id).curve)
    tally = Tally(detail="loading the base model")

    def on_progress(step: Progress) -> None:
        progress.point(CurvePoint(step.step, step.loss, step.metrics))
        tally.fraction = step.step / step.total
        tally.detail = f"step {step.step} of {step.total}, loss {step.loss:.3f}"
        progress.report(tally.fraction, tally.detail)

    def should_stop() -> bool:
        # Raises at a shutdown or a cancellation, which ends the training process; its checkpoints stay.
        progress.report(tally.fraction, tally.detail)
        return False

    result = training_backend(settings.backend, settings.ray).run(job, on_progress, should_stop)
    progress.curve([CurvePoint(point.step, point.loss, point.metrics) for point in result.curve])
    digest = bench.artifacts.put_folder(result.adapter)
    summary = (
        f"{result.steps} steps over {result.rows} rows, {result.step_seconds:.2f} s a step, "
        f"at most {result.peak_memory_bytes / 2**30:.1f} GiB"
    )
    progress.done(f"{summary}; stopped early: {result.stopped_early}" if result.stopped_early else summary)
    return trail.with_(adapter=digest)


def register(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
    """Have the adapter inspected and entered in the registry, where nothing is routed to it.

    Raises:
        CandidateRefused: It is not an adapter that could be served.
    """
    if not method(trail.method).servable:
        raise CandidateRefused(
            trail.adapter, f"{trail.method} makes no adapter; its output is in the artifact store, for other trainings"
        )
    folder = bench.artifacts.fetch(trail.adapter)
    try:
        found = inspect_adapter(
            folder, base_fingerprint=trail.base_fingerprint, max_rank=bench.settings.artifacts.max_rank
        )
    except AdapterFileError as error:
        raise CandidateRefused(trail.adapter, str(error)) from error
    record = AdapterRecord(
        digest=trail.adapter,
        name=f"{trail.method}-{trail.run_id[:8]}",
        base_fingerprint=trail.base_fingerprint,
        rank=found.rank,
        alpha=found.alpha,
        target_modules=found.target_modules,
        size_bytes=found.size_bytes,
        run_id=trail.run_id,
        created_by="learner",
        created_at=datetime.now(UTC),
    )
    bench.registry.add_adapter(record, "learner")
    bench.registry.update_run(trail.run_id, adapter_digest=trail.adapter)
    progress.done("registered; nothing is routed to it")
    return trail


def _accepted(bench: Workbench) -> list[Flag]:
    found: list[Flag] = []
    token = ""
    while True:
        page, token = bench.flags.flags(state=FlagState.ACCEPTED, page_size=_PAGE, page_token=token)
        found += page
        if not token:
            return found


def _base_model(trail: Trail) -> Path:
    """Where the served model's files are here; an adapter of other weights would claim to be one of these."""
    from ratchet_plugins.models.chat import fingerprint
    from ratchet_plugins.models.errors import ModelError

    path = Path(trail.model_path)
    try:
        found = fingerprint(path)
    except ModelError as error:
        raise BaseModelUnusable(trail.model_path, str(error)) from error
    if found != trail.base_fingerprint:
        raise BaseModelUnusable(trail.model_path, f"its fingerprint is {found}, the server's {trail.base_fingerprint}")
    return path
