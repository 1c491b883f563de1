"""`ratchet tune`: searches for a recipe that is safer, answers what it should, and keeps the language."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ratchet.cli.output import Json, console, print_json, table
from ratchet_server.cli.failures import explained
from ratchet_server.cli.threads import share_cores

if TYPE_CHECKING:
    from ratchet_adapters.tuning.study import Done


def tune(
    out: Annotated[Path, typer.Option(help="Folder of the search; a started one is continued.")],
    space: Annotated[
        str, typer.Option(help="Search space: 'default', 'quick', or the path of a YAML file.")
    ] = "default",
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of earlier calls included.")] = 30,
    minutes: Annotated[float, typer.Option(min=0.1, help="Time of this call; a trial under way is put off.")] = 480.0,
    sampler: Annotated[str, typer.Option(help="'tpe' or 'nsga2'.")] = "tpe",
    constraint: Annotated[
        list[str] | None,
        typer.Option(help="Such as 'over_refusal<=0.15' or 'refusal>=0.9'; repeatable. Without one: the knee."),
    ] = None,
    prompts: Annotated[int, typer.Option(min=4, help="Validation prompts of each kind.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the search and of the validation split.")] = 0,
    base: Annotated[Path | None, typer.Option(help="Folder of the base model; the embedded one without.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a trial.")] = 2,
    as_json: Json = False,
) -> None:
    """Search recipes on held-out validation clusters and write the best one to best.json.

    Three things count: refusing harmful prompts (up), refusing harmless ones (down), and nats per token lost on plain
    text (down). Trials train on part of the seed train split and are judged on the rest of it; the evaluation split,
    on which the gate decides, is never looked at. A search that was stopped continues where it was.

    Example:  ratchet tune --out ./tuning --trials 20 && ratchet train --options "$(cat tuning/best.json)"
    """
    with explained():
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        share_cores()
        from ratchet_adapters.training.settings import ProcessSettings
        from ratchet_adapters.tuning.heldout import hold_out
        from ratchet_adapters.tuning.local import LocalEvaluator, LocalTrainer
        from ratchet_adapters.tuning.objectives import parse_constraint
        from ratchet_adapters.tuning.report import write_report
        from ratchet_adapters.tuning.space import load_space
        from ratchet_adapters.tuning.study import Search
        from ratchet_plugins.models.chat import fingerprint, prepare_chat_model

        if sampler not in ("tpe", "nsga2"):
            raise typer.BadParameter("it is tpe or nsga2", param_hint="--sampler")
        constraints = tuple(map(parse_constraint, constraint or ()))
        chosen = load_space(space)
        split = hold_out(seed=seed, prompts=prompts)
        model = base.resolve() if base else prepare_chat_model()
        status = Console(stderr=True)
        trainer = LocalTrainer(
            chosen.method, split, model, fingerprint(model), out.resolve(), ProcessSettings(threads=threads)
        )
        evaluator = LocalEvaluator(model, split, threads=threads)
        search = Search(chosen, trainer, evaluator, out, sampler=sampler, seed=seed, identity=split.digest)

        def on_trial(done: Done) -> None:
            figures = done.measured.summary() if done.measured else done.failure
            status.print(f"trial {done.number}: {figures}", soft_wrap=True)

        found = search.run(trials=trials, minutes=minutes, on_trial=on_trial)
        written = write_report(found, constraints, out)
    if as_json:
        print_json(written.to_json())
        return
    table(
        f"Pareto front: {len(found.front)} of {len(found.done)} trials; {written.rule}",
        ["", "trial", "refusal", "over-refusal", "nats lost", "changed by the search"],
        (
            (
                "*" if entry.number == written.best.number else "",
                entry.number,
                f"{entry.measured.refusal:.1%}",
                f"{entry.measured.over_refusal:.1%}",
                f"{entry.measured.nll_change:+.3f}",
                ", ".join(f"{name.split('.')[-1]}={_short(value)}" for name, value in entry.params.items()),
            )
            for entry in found.front
            if entry.measured
        ),
    )
    base_figures = found.base
    console.print(
        f"base model: refusal {base_figures.refusal:.1%}, over-refusal {base_figures.over_refusal:.1%}, "
        f"{base_figures.nll:.3f} nats per token"
    )
    console.print(f"best: [bold]{written.options}[/]", soft_wrap=True)
    console.print(str(written.page), soft_wrap=True)
    console.print(f'next: ratchet train --method {found.method} --options "$(cat {written.options})"', soft_wrap=True)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
