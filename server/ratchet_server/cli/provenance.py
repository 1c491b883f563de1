"""`ratchet adapters card|lineage|evidence|check-evidence|sign|verify`: what is on record about an adapter, and signed.

They read the database and the artifact store of a state folder; none of them needs a running server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.cli.output import Json, console, print_json
from ratchet_server.cli.failures import explained
from ratchet_server.cli.keys import Password
from ratchet_server.cli.serve import Config, StateDir, from_options

if TYPE_CHECKING:
    from ratchet_adapters.artifacts import ArtifactStore
    from ratchet_adapters.registry import Registry
    from ratchet_server.settings import Settings

Name = Annotated[str, typer.Argument(help="Digest (a prefix of 12 hex digits will do) or alias.")]
Keys = Annotated[list[Path], typer.Option("--key", help="PEM file of a trusted public key; repeatable.")]
Signatures = Annotated[
    Path | None, typer.Option(help="Folder of signatures; default: signatures/ in the state folder.")
]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to the sub-command `ratchet adapters`."""
    app.command("card")(card)
    app.command("lineage")(lineage)
    app.command("evidence")(evidence)
    app.command("check-evidence")(check_evidence)
    app.command("sign")(sign)
    app.command("verify")(verify)


def card(
    adapter: Name,
    out: Annotated[Path | None, typer.Option(help="File to write; default: the terminal.")] = None,
    config: Config = None,
    state_dir: StateDir = None,
) -> None:
    """The model card of an adapter, from the ledger and the registry.

    Example:  ratchet adapters card champion --out CARD.md
    """
    with _opened(config, state_dir) as (registry, artifacts, _):
        from ratchet_adapters.provenance.card import model_card
        from ratchet_adapters.provenance.lineage import lineage_of

        _put(model_card(lineage_of(registry, artifacts, adapter)), out)


def lineage(
    adapter: Name,
    out: Annotated[Path | None, typer.Option(help="File to write; default: the terminal.")] = None,
    config: Config = None,
    state_dir: StateDir = None,
) -> None:
    """The lineage document of an adapter: data, licences, code, recipe, gate reports, approvals. Always JSON."""
    with _opened(config, state_dir) as (registry, artifacts, _):
        from ratchet_adapters.provenance.lineage import lineage_of

        _put(lineage_of(registry, artifacts, adapter).to_json(), out)


def evidence(
    adapter: Name,
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    signatures: Signatures = None,
    config: Config = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """A folder for auditors: lineage, card, datasheet, gate reports, ledger, and an index by EU AI Act Annex IV,
    NIST AI RMF and OWASP AISVS C11.9. What nothing recorded answers is said to have no evidence.

    Gate reports hold prompts and answers, and the ledger holds names: look before you hand it on.

    Example:  ratchet adapters evidence champion --out ./evidence
    """
    with _opened(config, state_dir) as (registry, artifacts, settings):
        from ratchet_adapters.provenance.evidence import write_evidence
        from ratchet_adapters.provenance.verification import signature_path

        digest = registry.adapter(adapter).digest
        signature = signature_path(signatures or settings.state_dir / "signatures", digest)
        written = write_evidence(registry, artifacts, digest, out, signature=signature)
    facts = {"adapter": digest, "lineage": written.digest, "out": str(out), "signed": signature.is_file()}
    if as_json:
        return print_json({**facts, "gaps": list(written.gaps)})
    console.print(f"[bold]{out / 'index.md'}[/]", soft_wrap=True)
    for gap in written.gaps:
        console.print(f"not known: {gap}", style="yellow", markup=False, soft_wrap=True)
    return None


def check_evidence(
    folder: Annotated[Path, typer.Argument(help="What `ratchet adapters evidence` wrote.")],
    key: Annotated[
        list[Path] | None, typer.Option(help="PEM file of a trusted public key: the signature must hold; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a bundle by itself, offline: files, lineage, ledger chain and, with --key, the signature."""
    with explained():
        from dataclasses import asdict

        from ratchet_adapters.provenance.checking import check_evidence as check
        from ratchet_adapters.provenance.signing import Ed25519Verifier

        held = check(folder, Ed25519Verifier.read(key) if key else None)
    if as_json:
        return print_json({"ok": True, **asdict(held)})
    console.print(f"[green]whole[/]: {held.entries} ledger entries up to {held.head_seq}, {held.head_hash}")
    console.print(f"signed by {held.signed_by}" if held.signed_by else "the signature was not checked: name a --key")
    return None


def sign(
    adapter: Name,
    key: Annotated[Path, typer.Option(help="PEM file of the private key.")],
    password: Password = "",
    signatures: Signatures = None,
    openssf_key: Annotated[
        Path | None,
        typer.Option(help="PEM file of an ECDSA private key: an OpenSSF model-signing bundle is written too."),
    ] = None,
    config: Config = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Sign an adapter's digest and the digest of its lineage, offline. The lineage goes to the artifact store.

    Example:  ratchet adapters sign champion --key release.key.pem
    """
    with _opened(config, state_dir) as (registry, artifacts, settings):
        from ratchet_adapters.provenance import openssf
        from ratchet_adapters.provenance.lineage import lineage_of
        from ratchet_adapters.provenance.signing import Ed25519Signer
        from ratchet_adapters.provenance.statement import sign_adapter
        from ratchet_adapters.provenance.verification import keep_signature, signature_path

        signer = Ed25519Signer.read(key, password=password)
        seen = lineage_of(registry, artifacts, adapter)
        digest = seen.adapter.digest
        folder = signatures or settings.state_dir / "signatures"
        stored = artifacts.put_json(seen.to_dict())
        paths = [keep_signature(folder, digest, sign_adapter(seen, signer))]
        if openssf_key is not None:
            paths.append(signature_path(folder, digest, "openssf"))
            openssf.sign_folder(artifacts.fetch(digest), paths[-1], openssf_key)
    if as_json:
        return print_json(
            {
                "adapter": digest,
                "lineage": seen.digest,
                "lineage_artifact": stored,
                "key_id": signer.key_id,
                "signatures": [str(path) for path in paths],
            }
        )
    for path in paths:
        console.print(str(path), soft_wrap=True)
    return None


def verify(
    adapter: Annotated[str, typer.Argument(help="An adapter folder, or a digest, prefix or alias.")],
    key: Keys,
    signatures: Signatures = None,
    openssf_key: Annotated[
        Path | None, typer.Option(help="PEM file of an ECDSA public key: the OpenSSF bundle must hold too.")
    ] = None,
    config: Config = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Check that an adapter is signed by a trusted key. Exits with 1 if it is not.

    Example:  ratchet adapters verify champion --key release.pub.pem
    """
    with explained():
        from ratchet_adapters.provenance.settings import SigningPolicy
        from ratchet_adapters.provenance.verification import verify_adapter

        policy = SigningPolicy(
            mode="required",
            trusted_keys=tuple(key),
            openssf="required" if openssf_key else "off",
            openssf_key=openssf_key,
        )
        if Path(adapter).is_dir():
            # A folder is verified anywhere: neither database nor artifact store is needed, or made.
            where = signatures or from_options(config, None, None, state_dir).state_dir / "signatures"
            held = verify_adapter(Path(adapter), policy, where)
        else:
            with _opened(config, state_dir) as (registry, artifacts, settings):
                folder = artifacts.fetch(registry.adapter(adapter).digest)
                held = verify_adapter(folder, policy, signatures or settings.state_dir / "signatures")
    statement = held.statement
    if as_json:
        return print_json(
            {
                "ok": True,
                "adapter": held.digest,
                "key_id": statement.key_id if statement else "",
                "lineage": statement.lineage if statement else "",
                "openssf": held.openssf,
            }
        )
    console.print(f"[green]signed[/]: {held.digest}, by {statement.key_id if statement else ''}", soft_wrap=True)
    return None


@contextmanager
def _opened(config: Path | None, state_dir: Path | None) -> Iterator[tuple[Registry, ArtifactStore, Settings]]:
    with explained():
        from ratchet_adapters.artifacts import open_store
        from ratchet_adapters.registry import Registry

        settings = from_options(config, None, None, state_dir)
        with Registry.open(settings.registry.database_url(settings.state_dir)) as registry:
            store = open_store(
                settings.artifacts.store_url(settings.state_dir), cache=settings.artifacts.cache_dir(settings.state_dir)
            )
            yield registry, store, settings


def _put(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    console.print(str(out), soft_wrap=True)
