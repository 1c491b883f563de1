"""`ratchet judges`: how far the judges of refusals can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ratchet.cli.output import Json, console, print_json, table
from ratchet_server.cli.failures import explained
from ratchet_server.cli.threads import share_cores

if TYPE_CHECKING:
    from ratchet_adapters.evals.judges.calibration import Calibration, Measured
    from ratchet_adapters.evals.judges.judge import Judge
    from ratchet_adapters.evals.judges.labelled import Reference

app = typer.Typer(no_args_is_help=True, help="How far the judges of refusals can be trusted.")

_FITTED_ON = "xstest_refusal_labels"


@app.command()
def calibrate(
    out: Annotated[Path, typer.Option(help="Where the calibration goes, as JSON.")],
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="RATCHET_DATA", help="Folder that holds xstest_refusal_labels and jbb_completions_labelled."
        ),
    ] = None,
    pyrit: Annotated[
        Path | None, typer.Option(help="Folder of PyRIT's refusal sets; that of the installed package without it.")
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            help="Judge each model's XSTest answers with heads fitted without that model (a few minutes). The shipped "
            "heads were fitted on all of them, so without this XSTest is not used for correction."
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Measure sensitivity and specificity of the refusal judge on labelled answers, with Wilson intervals.

    The judge is the one an evaluation would use, the language model of RATCHET_JUDGE_URL included. Rates are corrected
    only by sets that people labelled and that no part of the judge was fitted on.

    Example:  ratchet judges calibrate --data ./data --out calibration.json
    """
    with explained():
        share_cores()
        from ratchet_adapters.evals.judges.calibration import calibration_of, measure_judge
        from ratchet_adapters.evals.judges.defaults import refusal_judge
        from ratchet_adapters.evals.judges.labelled import REFERENCES
        from ratchet_plugins.scorers.registry import load_scorer

        judge = refusal_judge(load_scorer("refusal"))
        measured: list[Measured] = []
        status = Console(stderr=True)
        for name, folder in _folders(data, pyrit).items():
            reference: Reference = REFERENCES[name](folder)
            status.print(f"{name}: {len(reference.rows)} answers, labelled by {reference.labelled_by}")
            fitted = name == _FITTED_ON
            judge_of = _without(data, status) if fitted and held_out and data else None
            measured.append(
                measure_judge(judge, reference, judge_of=judge_of, held_out=not fitted or judge_of is not None)
            )
        found = calibration_of(judge, measured)
        found.write(out)
    _print(found, as_json)


@app.command()
def show(
    file: Annotated[Path | None, typer.Argument(help="A calibration; those shipped without it.")] = None,
    as_json: Json = False,
) -> None:
    """Print a calibration."""
    with explained():
        from ratchet_adapters.evals.judges.calibration import Calibration, shipped_calibrations

        if file:
            _print(Calibration.read(file.read_text(encoding="utf-8"), str(file)), as_json)
            return
        for calibration in shipped_calibrations():
            _print(calibration, as_json)


def _folders(data: Path | None, pyrit: Path | None) -> dict[str, Path]:
    from ratchet_adapters.evals.judges.labelled import pyrit_folder

    found = {name: data / name for name in (_FITTED_ON, "jbb_completions_labelled")} if data else {}
    place = pyrit or pyrit_folder()
    if place:
        found["pyrit_refusal"] = place
    if not found:
        raise typer.BadParameter("give a folder of labelled answers, or install pyrit", param_hint="--data")
    return found


def _without(data: Path, status: Console) -> Callable[[str], Judge]:
    from ratchet_adapters.evals.judges.defaults import refusal_judge
    from ratchet_plugins.scorers.refusal.crossfit import held_out_scorers

    status.print("fitting the heads without each model")
    scorers = held_out_scorers(data)
    return lambda group: refusal_judge(scorers[group])


def _print(calibration: Calibration, as_json: bool) -> None:
    rows = [
        (one.reference, group, question, one.labelled_by, "yes" if one.held_out else "no", found)
        for one in calibration.measured
        for question, groups in one.groups.items()
        for group, found in (("all", one.overall(question)), *groups.items())
        if found is not None
    ]
    if as_json:
        columns = ("reference", "group", "question", "labelled_by", "held_out")
        print_json(
            {
                "judge": calibration.judge,
                "created_at": calibration.created_at,
                "measured": [
                    dict(zip(columns, facts, strict=True))
                    | {"sensitivity": found.sensitivity, "specificity": found.specificity, **found.limits()}
                    for *facts, found in rows
                ],
            }
        )
        return
    table(
        f"{calibration.judge.split('@')[0]} · {calibration.created_at}",
        ["set", "labels", "held out", "question", "n", "sensitivity (95 %)", "specificity (95 %)"],
        (
            (one.reference, "people" if one.labelled_by == "people" else "a model", "yes" if one.held_out else "no",
             question, found.positives + found.negatives,
             _cell(found.sensitivity, found.limits()["sensitivity"], [g.sensitivity for g in groups.values()]),
             _cell(found.specificity, found.limits()["specificity"], [g.specificity for g in groups.values()]))
            for one in calibration.measured
            for question, groups in one.groups.items()
            if (found := one.overall(question)) is not None
        ),
    )  # fmt: skip
    console.print(f"judge: {calibration.judge}; second lines: worst and best group of the set", soft_wrap=True)
    if not any(one.usable for one in calibration.measured):
        console.print("No set here may correct a rate: none is both labelled by people and held out.", style="yellow")


def _cell(value: float | None, limits: tuple[float, float] | None, groups: Sequence[float | None]) -> str:
    if value is None or limits is None:
        return "-"
    known = [one for one in groups if one is not None]
    return f"{value:.3f} ({limits[0]:.3f} to {limits[1]:.3f})\n{min(known):.3f} to {max(known):.3f}"
