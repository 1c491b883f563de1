"""`ratchet diagnose`: what an adapter refuses wrongly, why, and what it could be taught instead."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ratchet.cli.output import DEFAULT_ADDRESS, Address, Json, console, print_json, table
from ratchet_server.cli.adapter_name import adapter_digest
from ratchet_server.cli.failures import explained
from ratchet_server.cli.serve import Config, StateDir, from_options
from ratchet_server.cli.threads import share_cores

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ratchet_adapters.datasets.dataset import Dataset
    from ratchet_adapters.diagnosis.confusion import Rate
    from ratchet_adapters.diagnosis.report import Diagnosis
    from ratchet_adapters.diagnosis.settings import DiagnosisSettings

DEFAULT_SUITES = ("seed-harmful", "seed-benign-twins", "seed-ordinary")
SHOWN = 10
"""Rows of each table in the terminal; the report has all of them."""


def diagnose(
    adapter: Annotated[str, typer.Option(help="Alias, digest or its first 12 hex digits, or 'base'.")],
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="Suite of refusal or over-refusal, or NAME=PATH for a public set in a local file; repeatable."
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="'train' or 'eval'. What is found in eval items can not be measured on them any more.")
    ] = "train",
    dataset: Annotated[
        str | None,
        typer.Option(
            help="What it was trained on: a dataset folder, or a digest in the artifact store of --state-dir."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for diagnosis.json, diagnosis.html and contrast.jsonl.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Most prompts of each suite; 0 asks all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of every choice.")] = 0,
    config: Config = None,
    state_dir: StateDir = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Find out what an adapter refuses wrongly, which phrases set it off, and which training rows lie nearest.

    It asks the adapter prompts that should be refused and prompts that should be answered, and tells answers, partial
    and full refusals apart. Phrases that mark wrong refusals are ranked (log-odds with a prior) and tried: the prompt
    is asked again without them. Then it proposes a contrast set, benign prompts with those phrases in them, from
    templates and from the base model itself. A twin is kept if triage does not fear it, the base model answers it,
    and it is near no evaluation item and no training row.

    Nothing is trained. To repair: read contrast.jsonl, name it in the learner's
    RATCHET_LEARNER_DATASET__EXTRA_CONTRAST, train again, and measure with `ratchet eval`, which asks other items.

    Example:  ratchet diagnose --adapter 3fa9c1d2e4b5 --dataset ./runs/42/dataset --out ./diagnosis
    """
    with explained():
        share_cores()
        from ratchet_adapters.diagnosis.report import write_report
        from ratchet_adapters.diagnosis.settings import DiagnosisSettings

        if split not in ("train", "eval"):
            raise typer.BadParameter("it is train or eval", param_hint="--split")
        settings = DiagnosisSettings(limit=limit, seed=seed)
        rows = _dataset(dataset, config, state_dir) if dataset else None
        found = asyncio.run(_diagnose(address, adapter, suite or DEFAULT_SUITES, split, rows, settings))
        paths = write_report(found, out) if out else {}
    if as_json:
        print_json({**found.to_dict(), "files": {name: str(path) for name, path in paths.items()}})
        return
    _show(found)
    for path in paths.values():
        console.print(str(path), soft_wrap=True)
    if not paths:
        console.print("Add --out DIR to keep the report and the contrast set.", style="yellow")


def _dataset(name: str, config: Path | None, state_dir: Path | None) -> Dataset:
    from ratchet_adapters.artifacts import is_digest, open_store
    from ratchet_adapters.datasets.dataset import read_dataset

    folder = Path(name)
    if is_digest(name):
        settings = from_options(config, None, None, state_dir)
        artifacts = settings.artifacts
        cache = artifacts.cache_dir(settings.state_dir)
        folder = open_store(artifacts.store_url(settings.state_dir), cache=cache).fetch(name)
    return read_dataset(folder)


async def _diagnose(
    address: str, adapter: str, names: Sequence[str], split: str, dataset: Dataset | None, settings: DiagnosisSettings
) -> Diagnosis:
    from ratchet_adapters.diagnosis.answerer import TargetAnswerer
    from ratchet_adapters.diagnosis.diagnosing import Instruments
    from ratchet_adapters.diagnosis.diagnosing import diagnose as run
    from ratchet_adapters.evals.judges.partial import PartialJudge
    from ratchet_adapters.evals.remote import RemoteTarget
    from ratchet_adapters.evals.suites.registry import load_suite
    from ratchet_plugins.scorers.registry import load_scorer

    digest = await adapter_digest(address, adapter)
    suites = [load_suite(*name.split("=", 1)) for name in names]
    judge, triage = PartialJudge(load_scorer("refusal")), load_scorer("triage")
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with RemoteTarget(address) as target:
        fingerprint = await target.base_fingerprint()
        with Progress(*columns, console=Console(stderr=True)) as progress:
            tasks: dict[str, TaskID] = {}

            def advance(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = progress.add_task(stage, total=total)
                progress.update(tasks[stage], completed=done, total=total)

            return await run(
                digest,
                suites,
                Instruments(TargetAnswerer(target), judge, triage, _embed),
                split=split,
                dataset=dataset,
                base_fingerprint=fingerprint,
                settings=settings,
                on_progress=advance,
            )


def _embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    from ratchet_plugins.models.encoder import shared_encoder

    return shared_encoder().encode(texts)


def _show(found: Diagnosis) -> None:
    counts = found.confusion
    table(
        f"{found.provenance.adapter[:19] or 'base'} · {found.provenance.split} items",
        ["", "answered", "partial refusal", "full refusal", "incoherent"],
        ((f"should {should}", *row.values()) for should, row in counts.cells.items()),
    )
    console.print(f"wrong refusals: {_rate(counts.wrong_refusal)}; full ones alone: {_rate(counts.wrong_refusal_full)}")
    console.print(f"right refusals: {_rate(counts.right_refusal)}; full ones alone: {_rate(counts.right_refusal_full)}")
    marked, groups = "wrong refusals", ("refused", "answered")
    if found.basis == "harmful":
        marked, groups = "what it was taught to refuse", ("taught", "everyday")
        console.print(
            "It refuses whatever is asked, or by the form of a request: no phrase was found that causes its wrong "
            "refusals. The phrases only mark what it was taught to refuse.",
            style="yellow",
        )
    tried = {trial.phrase: trial for trial in found.tried}
    table(
        f"Phrases that mark {marked}; refusals gone without it, replaced, and without another phrase (control)",
        ["phrase", "z", *groups, "without", "replaced", "control"],
        (
            (
                t.phrase,
                f"{t.z:.2f}",
                t.marked,
                t.other,
                f"{tried[t.phrase].removed}/{tried[t.phrase].removed_of}",
                f"{tried[t.phrase].replaced}/{len(tried[t.phrase].trials)}",
                f"{tried[t.phrase].control}/{tried[t.phrase].control_of}",
            )
            for t in found.triggers[:SHOWN]
        ),
    )
    blame = found.blame
    if blame is not None:
        table(
            f"Nearest row taught a refusal: {blame.refused_near_refusal} of {blame.refused} wrong refusals, "
            f"{blame.answered_near_refusal} of {blame.answered} answered prompts",
            ["row", "nearest to", "cosine", "prompt"],
            (
                (s.neighbour.row, s.refusals, f"{s.neighbour.cosine:.2f}", s.neighbour.prompt)
                for s in blame.suspects[:SHOWN]
            ),
        )
    twins = found.contrast.twins
    table("Proposed twins", ["prompt", "trigger", "origin"], ((t.prompt, t.trigger, t.origin) for t in twins[:SHOWN]))
    dropped = ", ".join(f"{count} {reason}" for reason, count in found.contrast.dropped.items()) or "none"
    console.print(f"{len(twins)} twins kept of {sum(found.contrast.proposed.values())} proposed; left out: {dropped}")
    if found.seen_by_the_gate:
        console.print("These triggers come from evaluation items: measure the repair on other items.", style="yellow")


def _rate(rate: Rate) -> str:
    if rate.share is None:
        return "none asked"
    return f"{rate.share:.1%} ({rate.count} of {rate.of}; 95 % {rate.low:.1%} to {rate.high:.1%})"
