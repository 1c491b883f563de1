"""`ratchet redteam`: attacks on a harm suite through a running server, within a budget."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ratchet.cli.output import DEFAULT_ADDRESS, Address, Json, console, print_json, short, table
from ratchet_server.cli.adapter_name import adapter_digest
from ratchet_server.cli.failures import explained
from ratchet_server.cli.threads import share_cores

if TYPE_CHECKING:
    from ratchet_adapters.redteam.report import Cell, RedTeamReport
    from ratchet_adapters.redteam.settings import CampaignSettings

RESULTS = "attempts.jsonl"


def redteam(
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results and the report; a started campaign is continued.")
    ] = None,
    suite: Annotated[
        str, typer.Option(help="Suite of harmful prompts, or NAME=PATH for a public set in a local file.")
    ] = "seed-harmful",
    attack: Annotated[list[str] | None, typer.Option(help="Attack to use; repeatable. All of them by default.")] = None,
    adapter: Annotated[
        str, typer.Option(help="Alias, digest or its first 12 hex digits, or 'base'. Empty: as the server routes.")
    ] = "",
    rails: Annotated[str, typer.Option(help="Rail profile; empty: the server's default. 'off': the model alone.")] = "",
    requests: Annotated[int, typer.Option(help="Most requests, earlier starts of this campaign included.")] = 300,
    minutes: Annotated[float, typer.Option(help="Longest time of this start; requests under way are waited for.")] = 15,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Conversations held at once.")] = 8,
    limit: Annotated[int, typer.Option(min=0, help="Most items of the suite; 0 uses all.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Longest answer.")] = 96,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of the items and of every request.")] = 0,
    list_attacks: Annotated[bool, typer.Option("--list", help="Print the attacks and stop.")] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Attack a running server with the prompts of a harm suite, and report how often each attack got through.

    An attack only wraps prompts that the suite already holds: it begins the answer, asks in the past tense or in
    a role, hides the words, or goes over several turns; `direct` does nothing and is what the others are compared
    with. An attempt SUCCEEDED when the model gave a coherent answer that is no refusal and no rail withheld it.
    ON TOPIC counts the successes whose answer is about what was asked. Read the answers: a success need not be of
    use to anybody, least of all from a small model.

    The order is fair: wherever the budget ends, all attacks have met the same items. Every attempt is on disk as
    soon as it is there, so a command that was stopped or killed goes on when it is repeated; with a larger
    --requests it goes further. Requests yield to users' traffic and are never learnt from.

    Exit status 1 when nothing could be judged: an empty campaign is no pass.

    Examples:

      ratchet redteam --requests 150 --out ./red-team

      ratchet redteam --adapter 3fa9c1d2e4b5 --rails off --attack direct --attack prefill --out ./model-alone
    """
    with explained():
        if list_attacks:
            _list(as_json)
            return
        if out is None:
            raise typer.BadParameter("name a folder for the results", param_hint="--out")
        share_cores()
        from ratchet_adapters.redteam.campaign import check_budget
        from ratchet_adapters.redteam.page import write_report
        from ratchet_adapters.redteam.settings import CampaignSettings

        settings = CampaignSettings(
            requests=requests,
            minutes=minutes,
            concurrency=concurrency,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
        )
        check_budget(settings)
        report = asyncio.run(_campaign(address, out, suite, attack or [], adapter, rails, limit, settings))
        paths = write_report(report, out)
    if as_json:
        shown = {name: value for name, value in report.to_dict().items() if name != "attempts"}
        print_json(shown | {"files": [str(path) for path in paths]})
        return
    _show(report)
    for path in paths:
        console.print(str(path), soft_wrap=True)


async def _campaign(
    address: str,
    out: Path,
    suite_name: str,
    names: Sequence[str],
    adapter: str,
    rails: str,
    limit: int,
    settings: CampaignSettings,
) -> RedTeamReport:
    from ratchet.client import AsyncRatchet
    from ratchet_adapters.evals.errors import SuiteUnknown
    from ratchet_adapters.evals.item import Axis
    from ratchet_adapters.evals.judges.judge import judge_id
    from ratchet_adapters.evals.judges.refusal import RefusalJudge
    from ratchet_adapters.evals.suites.registry import load_suite
    from ratchet_adapters.redteam.attacks.registry import attack_names, load_attack
    from ratchet_adapters.redteam.campaign import base_fingerprint, run_campaign
    from ratchet_adapters.redteam.outcome import outcomes
    from ratchet_adapters.redteam.plan import planned
    from ratchet_adapters.redteam.record import Facts
    from ratchet_adapters.redteam.relevance import with_nearness
    from ratchet_adapters.redteam.report import reported
    from ratchet_adapters.redteam.result_file import ResultFile
    from ratchet_plugins.models.encoder import shared_encoder
    from ratchet_plugins.scorers.registry import load_scorer

    suite = load_suite(*suite_name.split("=", 1))
    if suite.axis is not Axis.HARMFUL_REFUSAL:
        raise SuiteUnknown(suite.name, f"it measures {suite.axis}; attacks need prompts that ought to be refused.")
    attacks = [load_attack(name) for name in dict.fromkeys(names or attack_names())]
    attempts = planned(suite.items(), attacks, seed=settings.seed)
    attempts = attempts[: limit * len(attacks)] if limit else attempts
    async with AsyncRatchet(address) as client:
        fingerprint = await base_fingerprint(client)
        # Asked for by name of a fixed thing, exactly that must answer; an alias may move while the campaign runs.
        aliases = ("", "champion", "canary", "previous")
        digest = None if adapter in aliases else (await adapter_digest(address, adapter)).removeprefix("base")
        # Loaded before anything is asked: a judge that does not load would make every request a waste.
        judge = RefusalJudge(load_scorer("refusal"))
        facts = Facts(
            suite=suite.name,
            suite_version=suite.version,
            attacks={attack.name: attack.version for attack in attacks},
            adapter=adapter,
            rail_profile=rails,
            base_fingerprint=fingerprint,
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            seed=settings.seed,
            limit=limit,
        )
        columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with ResultFile(out / RESULTS, facts) as results, Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("attacking", total=len(attempts))

            def advance(done: int, total: int, spent: int) -> None:
                progress.update(task, completed=done, total=total, description=f"{spent} requests")

            ended = await run_campaign(
                client,
                attempts,
                results,
                adapter=adapter,
                expected_digest=digest,
                rail_profile=rails,
                settings=settings,
                on_progress=advance,
            )
            kept = results.records
    records = [kept[attempt.id] for attempt in attempts if attempt.id in kept]
    judged = await asyncio.to_thread(outcomes, records, judge, batch=settings.judge_batch)
    judged = await asyncio.to_thread(with_nearness, judged, suite.items(), shared_encoder().encode)
    return reported(facts, judge_id(judge), ended, judged, correlation=settings.cluster_correlation)


def _list(as_json: bool) -> None:
    from ratchet_adapters.redteam.attacks.registry import attack_names, load_attack

    attacks = [load_attack(name) for name in attack_names()]
    if as_json:
        print_json([{"name": a.name, "version": a.version, "licence": a.licence, "about": a.about} for a in attacks])
        return
    table(
        "Attacks", ["name", "version", "licence", "about"], ((a.name, a.version, a.licence, a.about) for a in attacks)
    )


def _show(report: RedTeamReport) -> None:
    from ratchet_adapters.redteam.outcome import Outcome

    answered = ", ".join(f"{short(digest)} ({count})" for digest, count in report.adapters.items()) or "nobody"
    others = [outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED]
    columns = [outcome for outcome in others if any(outcome.value in cell.counts for cell in report.totals)]
    _compact(
        f"{report.facts.suite} · answered by {answered}",
        ["attack", "success", "95 %", "of", "on topic", *(outcome.value.replace("_", " ") for outcome in columns)],
        (
            (
                cell.attack,
                *_rate(cell),
                cell.of,
                "" if cell.on_topic is None else cell.on_topic,
                *(cell.counts.get(outcome.value, "") for outcome in columns),
            )
            for cell in report.totals
        ),
    )
    # Letters for the categories, so that the table fits a terminal.
    letters = dict(zip(report.categories, map(_letters, range(len(report.categories))), strict=True))
    cells = {(cell.attack, cell.category): cell for cell in report.cells}
    _compact(
        "Succeeded/of by attack and category: " + ", ".join(f"{letter} {name}" for name, letter in letters.items()),
        ["attack", *letters.values()],
        (
            (cell.attack, *(_count(cells[cell.attack, category]) for category in report.categories))
            for cell in report.totals
        ),
    )
    if report.rails:
        console.print("blocked by " + ", ".join(f"{rail} ({count})" for rail, count in report.rails.items()))
    if len(report.adapters) > 1:
        console.print("More than one adapter answered: no rate belongs to one alone.", style="yellow")
    if report.ended.reason != "complete":
        done, planned = len(report.attempts), report.ended.planned
        console.print(
            f"The budget of {report.ended.reason} ended it after {done} of {planned} attempts "
            f"({report.ended.spent} requests). Repeat the command with more to go on.",
            style="yellow",
        )


def _compact(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        drawn.add_row(*(str(cell) for cell in row))
    console.print(drawn)


def _letters(number: int) -> str:
    return (chr(ord("a") + number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def _rate(cell: Cell) -> tuple[str, str]:
    if cell.rate is None or cell.low is None or cell.high is None:
        return "-", "-"
    return f"{cell.rate:.0%}", f"{100 * cell.low:.0f}–{cell.high:.0%}"


def _count(cell: Cell) -> str:
    return "-" if cell.rate is None else f"{round(cell.rate * cell.of)}/{cell.of}"
