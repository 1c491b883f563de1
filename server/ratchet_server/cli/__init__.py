"""Commands that run or read the server's own parts. Light to import: each command imports what it needs when called."""

from __future__ import annotations

import typer

from ratchet.cli import adapters
from ratchet.cli import rails as profiles
from ratchet_server.cli import (
    api_keys,
    demo,
    diagnose,
    doctor,
    evaluate,
    fleet,
    judges,
    keys,
    learn,
    ledger,
    models,
    provenance,
    rails,
    ray,
    receipts,
    redteam,
    score,
    serve,
    suites,
    tune,
)


def add_commands(app: typer.Typer) -> None:
    """Adds them to the root command; called through the entry-point group `ratchet.commands`."""
    app.command("up")(serve.up)
    app.command("serve")(serve.serve)
    app.command("learn")(learn.learn)
    app.command("eval")(evaluate.evaluate)
    app.command("diagnose")(diagnose.diagnose)
    app.command("redteam")(redteam.redteam)
    app.add_typer(ledger.app, name="ledger")
    app.add_typer(judges.app, name="judges")
    app.add_typer(models.app, name="models")
    app.add_typer(suites.app, name="suites")
    app.add_typer(keys.app, name="keys")
    app.add_typer(api_keys.app, name="api-keys")
    app.add_typer(receipts.app, name="receipts")
    provenance.add_commands(adapters.app)
    rails.add_commands(profiles.app)
    app.command("ray")(ray.ray)
    app.command("fleet")(fleet.fleet)
    app.command("health")(fleet.health)
    app.command("doctor")(doctor.doctor)
    app.command("score")(score.score)
    app.command("tune")(tune.tune)
    app.command("demo")(demo.demo)
