"""Checks configuration folders as a server would at start-up, without loading a scorer or asking an engine.

It must not know what prints the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet_server.rails.cases import cases_beside
from ratchet_server.rails.configfolder import read_config_folder
from ratchet_server.rails.errors import RailConfigError
from ratchet_server.rails.profile import compile_rails
from ratchet_server.rails.verdict import Direction

__all__ = ["CheckedProfile", "check_profile", "profile_folders"]


@dataclass(frozen=True, slots=True)
class CheckedProfile:
    """A configuration that can be served as written.

    Attributes:
        folder: Where it stands.
        input_rails: Its enabled rails for prompts,
        output_rails: and for answers, in order.
        shadow_rails: Those that only watch.
        streaming_mode: How answers are released.
        holdback_chars: Characters kept back in streams.
        scorers: Classifiers it loads when it is served.
        models: What its rails ask in the engine: adapter aliases, digests or "base".
        cases: How many cases it brings.
    """

    folder: Path
    input_rails: tuple[str, ...]
    output_rails: tuple[str, ...]
    shadow_rails: tuple[str, ...]
    streaming_mode: str
    holdback_chars: int
    scorers: tuple[str, ...]
    models: tuple[str, ...]
    cases: int


def profile_folders(folder: Path) -> list[Path]:
    """Return the folder itself if it is a profile, else the profiles in it. Raises RailConfigError if there is none."""
    if not folder.is_dir():
        raise RailConfigError(folder, "There is no such folder.", "Name a folder with a config.yml.")
    if any((folder / name).is_file() for name in ("config.yml", "config.yaml")):
        return [folder]
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if not inner:
        raise RailConfigError(folder, "It holds neither a config.yml nor profiles.", "Name a profile's folder.")
    return inner


def check_profile(folder: Path) -> CheckedProfile:
    """Check one configuration folder: its keys, rails, patterns, models, prompts and cases.

    Raises:
        RailConfigError: It cannot be served exactly as written; it names the file, the line and what to do.
        RailUnavailable: An installed rail package does not load.
    """
    # Here, because importing them imports NeMo, which takes a second.
    from ratchet_server.rails import nemo
    from ratchet_server.rails.validation import validate

    catalog = nemo.merged_catalog()
    valid = validate(read_config_folder(folder), catalog)
    sides = compile_rails(valid, catalog, _nobody)
    enabled = [flow for flow in valid.flows if flow.settings.enabled]
    asking = any(flow.surface.asks_model for flow in enabled)
    return CheckedProfile(
        folder,
        tuple(rail.flow for rail in sides[Direction.INPUT]),
        tuple(rail.flow for rail in sides[Direction.OUTPUT]),
        tuple(rail.flow for side in sides.values() for rail in side if rail.shadow),
        valid.settings.streaming.mode,
        valid.settings.streaming.holdback_chars or 0,
        tuple(sorted({flow.surface.scorer for flow in enabled} - {""})),
        tuple(sorted({str(model.model) for model in valid.nemo.models})) if asking else (),
        len(cases_beside(folder)),
    )


async def _nobody(messages: Any, **_: Any) -> str:
    raise RuntimeError("a check asks no model")
