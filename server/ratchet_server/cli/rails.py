"""`ratchet rails check`, `test`, `list` and `new`: what people who write rail profiles need, without a server."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ratchet.cli.output import Json, console, print_json, table
from ratchet_server.cli.failures import explained
from ratchet_server.cli.serve import Config, from_options

if TYPE_CHECKING:
    from ratchet_server.rails.cases import CaseResult
    from ratchet_server.rails.checking import CheckedProfile
    from ratchet_server.rails.errors import RailConfigError
    from ratchet_server.rails.generation import Generate

Folder = Annotated[Path, typer.Argument(help="A profile's folder, with a config.yml.")]


def add_commands(app: typer.Typer) -> None:
    """Adds them to `ratchet rails`."""
    app.command("check")(check)
    app.command("test")(test)
    app.command("list")(list_)
    app.command("new")(new)


def check(
    folder: Annotated[Path, typer.Argument(help="A profile's folder, or a folder of profiles.")], as_json: Json = False
) -> None:
    """Check a rail configuration as the server would at start-up; exits with 1 and names the line if it is refused.

    Loads no classifier and asks no model, so it is quick enough for every commit.

    Example:  ratchet rails check ./profiles/bank
    """
    from ratchet_server.rails.errors import RailConfigError

    found: list[CheckedProfile] = []
    refused: list[RailConfigError] = []
    with explained():
        from ratchet_server.rails.checking import check_profile, profile_folders

        try:
            folders = profile_folders(folder)
        except RailConfigError as error:
            folders, refused = [], [error]
        for each in folders:
            try:
                found.append(check_profile(each))
            except RailConfigError as error:
                refused.append(error)
    if as_json:
        print_json(
            {"ok": not refused, "profiles": [_plain(p) for p in found], "problems": [_problem(e) for e in refused]}
        )
    else:
        for profile in found:
            _print_checked(profile)
        for problem in refused:
            _print_problem(problem)
    raise typer.Exit(int(bool(refused)))


def _plain(profile: CheckedProfile) -> dict[str, Any]:
    return {**asdict(profile), "folder": str(profile.folder)}


def _problem(error: RailConfigError) -> dict[str, Any]:
    return {
        "file": str(error.file),
        "line": error.line,
        "key": error.key,
        "problem": error.problem,
        "remedy": error.remedy,
    }


def _print_checked(profile: CheckedProfile) -> None:
    mode = profile.streaming_mode
    held = "" if mode == "buffered" else f", holds back {profile.holdback_chars} characters"
    console.print(f"[green]good[/]: [bold]{profile.folder}[/] ({mode}{held}; {profile.cases} cases)", soft_wrap=True)
    for side, rails in (("input", profile.input_rails), ("output", profile.output_rails)):
        for rail in rails or ("no rails",):
            watching = " (shadow)" if rail in profile.shadow_rails else ""
            console.print(f"  {side}: {rail}{watching}", markup=False)
    for kind, names in (("loads", profile.scorers), ("asks", profile.models)):
        if names:
            console.print(f"  {kind}: {', '.join(names)}", markup=False)


def _print_problem(error: RailConfigError) -> None:
    place = f"{error.file}:{error.line}" if error.line else str(error.file)
    console.print("[bold red]refused[/]: ", place, sep="", soft_wrap=True)
    console.print(f"  {f'{error.key}: ' if error.key else ''}{error.problem}", markup=False, soft_wrap=True)
    console.print(f"  {error.remedy}", markup=False, soft_wrap=True)


def test(
    folder: Folder,
    cases: Annotated[
        Path | None, typer.Argument(help="YAML file of cases; cases.yaml of the folder without it.")
    ] = None,
    address: Annotated[
        str, typer.Option(help="Server whose engine answers rails that ask a model; they are refused without it.")
    ] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Run a profile's rails on texts and compare; exits with 1 if one does not come out as expected, naming its line.

    The classifiers are the real ones, with the server's settings. A rail that fails meets no expectation.

    Example:  ratchet rails test ./profiles/bank cases.yaml
    """
    with explained():
        from ratchet_server.rails.cases import cases_beside, read_cases
        from ratchet_server.rails.errors import RailConfigError

        chosen = read_cases(cases) if cases is not None else cases_beside(folder)
        if not chosen:
            raise RailConfigError(folder, "It has no cases.", "Name a file of cases, or add a cases.yaml.")
        settings = from_options(config, None, None, None)
        with Console(stderr=True).status("loading rails and classifiers"):
            began = time.monotonic()
            results = asyncio.run(_run(folder, chosen, dict(settings.scorers), address))
    failed = [result for result in results if result.problem]
    if as_json:
        print_json(
            {"passed": len(results) - len(failed), "failed": len(failed), "cases": [_result(r) for r in results]}
        )
    else:
        _print_results(results, time.monotonic() - began)
    raise typer.Exit(int(bool(failed)))


async def _run(folder: Path, cases: Any, scorers: dict[str, Any], address: str) -> list[CaseResult]:
    from ratchet_plugins.scorers.registry import load_scorer
    from ratchet_server.rails.cases import run_case
    from ratchet_server.rails.profile import compile_profile
    from ratchet_server.rails.scoring import ScorerPool

    pool = ScorerPool(lambda name: load_scorer(name, **scorers.get(name, {})))
    client, generate = _asking(address)
    try:
        profile = await asyncio.to_thread(
            compile_profile, folder.resolve().name, folder, scorers=pool, generate=generate
        )
        return [await run_case(profile, case) for case in cases]
    finally:
        pool.close()
        if client is not None:
            await client.close()


def _asking(address: str) -> tuple[Any, Generate | None]:
    """A running server's engine as the rails' port; without rails of its own, for a rail's prompt is no user's."""
    if not address:
        return None, None
    from ratchet.client import AsyncRatchet

    client = AsyncRatchet(address)

    async def generate(
        messages: Any, *, model: str, max_tokens: int, temperature: float, stop: tuple[str, ...], priority: int
    ) -> str:
        answer = await client.generate(
            [{"role": message.role, "content": message.content} for message in messages],
            adapter=model,
            max_tokens=max_tokens,
            temperature=temperature,
            stop=stop,
            rail_profile="off",
        )
        return answer.text

    return client, generate


def _result(result: CaseResult) -> dict[str, Any]:
    case = result.case
    return {
        "name": case.name,
        "file": str(case.file),
        "line": case.line,
        "expect": case.expect,
        "got": result.decision.outcome.value.lower(),
        "problem": result.problem,
    }


def _print_results(results: list[CaseResult], seconds: float) -> None:
    for result in results:
        if result.problem:
            console.print(f"[bold red]failed[/]: {result.case.file}:{result.case.line}", soft_wrap=True)
            console.print(f"  {result.case.name}: {result.problem}", markup=False, soft_wrap=True)
    wanted = [r for r in results if r.case.expect == "allow"]
    unwanted = [r for r in results if r.case.expect != "allow"]
    for name, group in (("let pass that should pass", wanted), ("stopped or masked that should be", unwanted)):
        if group:
            console.print(f"{name}: {sum(not r.problem for r in group)} of {len(group)}")
    failed = sum(bool(result.problem) for result in results)
    console.print(f"{len(results) - failed} of {len(results)} cases passed in {seconds:.1f} s")


def list_(
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that are not known to fail closed, most of all vendors' services.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The rails that can be listed under rails.input.flows or rails.output.flows here.

    Example:  ratchet rails list --all
    """
    with explained():
        from ratchet_server.rails.flows import known_to_fail_closed
        from ratchet_server.rails.nemo import list_surfaces, merged_catalog

        catalog = merged_catalog()
        judged = [(each, known_to_fail_closed(each.surface, catalog)) for each in list_surfaces(catalog)]
        listed = [(each, closed) for each, closed in judged if closed or everything]
    if as_json:
        return print_json(
            [
                {
                    "flow": each.surface.name,
                    "direction": each.direction.lower(),
                    "parameters": sorted(each.surface.known_parameters),
                    "required": sorted(each.surface.required_parameters),
                    "rewrites": each.surface.rewrites,
                    "asks_model": each.surface.asks_model,
                    "fails_closed": closed,
                    "source": each.source,
                    "needs": each.needs,
                    "description": each.description,
                }
                for each, closed in listed
            ]
        )
    return table(
        "Rails",
        ["side", "flow", "from", "rewrites", "asks a model", "fails closed", "what it does"],
        (
            (
                each.direction.lower(),
                " ".join([each.surface.name, *(f"${name}=" for name in sorted(each.surface.known_parameters))]),
                each.source,
                "may" if each.surface.rewrites else "",
                "yes" if each.surface.asks_model else "",
                "yes" if closed else "not known: needs `unaudited`",
                each.description + (f" Needs {', '.join(each.needs)}." if each.needs else ""),
            )
            for each, closed in listed
        ),
    )


def new(
    name: Annotated[str, typer.Argument(help="Name of the package, such as acme-topics.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; one of the package's name without it.")] = None,
) -> None:
    """Write the package of a rail of your own: manifest, action, entry point, test and a profile that uses it.

    Example:  ratchet rails new acme-topics && cd acme-topics && pip install -e '.[dev]' && pytest
    """
    with explained():
        from ratchet_server.rails.scaffold import new_rail_package

        files = new_rail_package(name, out or Path(name))
    for file in files:
        console.print(str(file), markup=False, soft_wrap=True)
