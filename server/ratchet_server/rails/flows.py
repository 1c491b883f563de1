"""The rails a configuration lists: each must exist, be known to fail closed, and have all it needs.

It must not know patterns, classifiers or how a rail runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ratchet_server.rails import nemo
from ratchet_server.rails.configfolder import ConfigFolder, KeyPath
from ratchet_server.rails.settings import RailSettings, RatchetSettings
from ratchet_server.rails.strictness import spelling_hint
from ratchet_server.rails.verdict import Direction

__all__ = ["ENGINE", "Flow", "known_to_fail_closed", "read_flows"]

# The only `engine` of a configured model: the serving engine of this process.
ENGINE = "ratchet"
_MODEL_PARAMETERS = {"max_tokens", "timeout_ms"}
_REWRITING_ACTION = {"context_bloat_detection": "truncate"}
# NeMo's own rails that were read or tried and fail closed. Others, most of all those that call a vendor, often allow
# what they could not check (upstream issue 2045).
_AUDITED = {
    "regex",
    "self_check.input_check",
    "self_check.output_check",
    "content_safety",
    "llama_guard",
    "context_bloat_detection",
}


@dataclass(frozen=True, slots=True)
class Flow:
    """A configured rail.

    Attributes:
        text: As configured.
        direction: Its side.
        key: Where it stands.
        surface: What the catalog declares about it.
        settings: Its deadline and fail mode.
        rewrites: Whether it may rewrite the text under this configuration.
    """

    text: str
    direction: Direction
    key: KeyPath
    surface: nemo.Surface
    settings: RailSettings
    rewrites: bool


# What does the same job here, and fails closed.
_INSTEAD = {
    "jailbreak_detection": "ratchet triage input",
    "sensitive_data_detection": "ratchet pii mask output",
    "privateai": "ratchet pii mask output",
    "gliner": "ratchet pii mask output",
}


def read_flows(folder: ConfigFolder, catalog: nemo.RailCatalog, settings: RatchetSettings) -> tuple[Flow, ...]:
    """Read and check both lists of flows and the models they may ask.

    Raises:
        RailConfigError: A flow is unknown, listed twice, lacks or has a wrong parameter, is not known to fail closed,
            may rewrite the text, or needs a model that is not configured; or settings name a flow that is not listed.
    """
    _check_models(folder)
    found: list[Flow] = []
    for direction in Direction:
        key: KeyPath = ("rails", direction.lower(), "flows")
        for index, text in enumerate(_listed(folder, key)):
            flow = _read(folder, catalog, settings, direction, (*key, index), text)
            if any((flow.text, direction) == (other.text, other.direction) for other in found):
                raise folder.error(flow.key, f"The rail {text!r} is listed twice.", "List it once.")
            found.append(flow)
    listed = {flow.text for flow in found}
    for name in settings.rails:
        if name not in listed:
            hint = spelling_hint(name, listed)
            raise folder.error(("custom_data", "ratchet", "rails", name), "No such rail is listed.", hint)
    return tuple(found)


def known_to_fail_closed(surface: nemo.Surface, catalog: nemo.RailCatalog) -> bool:
    """Whether a rail is ours, another package's own affair, or one of NeMo's that was read or tried."""
    stock = catalog.records[surface.manifest].source.startswith("nemoguardrails.")
    return not stock or surface.manifest in _AUDITED


def _listed(folder: ConfigFolder, key: KeyPath) -> list[Any]:
    value: Any = folder.values
    for length, word in enumerate(key):
        value = value.get(str(word))
        if value is None:
            return []
        wanted = list if length == len(key) - 1 else dict
        if not isinstance(value, wanted):
            kind = "list" if wanted is list else "mapping"
            raise folder.error(key[: length + 1], f"It must be a {kind}.", "Correct it.")
    return list(value)


def _read(
    folder: ConfigFolder,
    catalog: nemo.RailCatalog,
    settings: RatchetSettings,
    direction: Direction,
    key: KeyPath,
    text: Any,
) -> Flow:
    try:
        surface = nemo.find_surface(text, direction, catalog) if isinstance(text, str) else None
    except ValueError as error:
        raise folder.error(key, f"{text!r} is no rail: {error}", "Write `name $key=value`.") from error
    if surface is None:
        raise folder.error(key, f"There is no {direction.lower()} rail {text!r}.", _hint(text, direction, catalog))
    rewrites = surface.rewrites and _rewrites_by_its_action(folder, surface)
    flow = Flow(text, direction, key, surface, settings.rails.get(text, RailSettings()), rewrites)
    _check_parameters(folder, flow)
    _check_conduct(folder, flow, catalog, settings)
    _check_model(folder, flow)
    return flow


def _rewrites_by_its_action(folder: ConfigFolder, surface: nemo.Surface) -> bool:
    """Some of NeMo's rails rewrite under one `action` only; the others always may."""
    rewriting = _REWRITING_ACTION.get(surface.manifest)
    if rewriting is None:
        return True
    section = ((folder.values.get("rails") or {}).get("config") or {}).get(surface.manifest) or {}
    return isinstance(section, dict) and section.get("action") == rewriting


def _hint(text: Any, direction: Direction, catalog: nemo.RailCatalog) -> str:
    sides = {name: side.value for side, name in catalog.surfaces()}
    if sides.get(str(text)) not in (None, direction.lower()):
        return f"It is an {sides[str(text)]} rail: list it there."
    known = {name for side, name in catalog.surfaces() if side.value == direction.lower()}
    return spelling_hint(str(text), known)


def _check_parameters(folder: ConfigFolder, flow: Flow) -> None:
    surface = flow.surface
    for name in surface.parameters:
        if name not in surface.known_parameters:
            hint = spelling_hint(name, surface.known_parameters) if surface.known_parameters else "Remove it."
            raise folder.error(flow.key, f"The rail {surface.name!r} has no parameter ${name}.", hint)
    for name in sorted(surface.required_parameters - set(surface.parameters)):
        raise folder.error(flow.key, f"The rail {surface.name!r} needs ${name}=.", f"Write `{flow.text} ${name}=...`.")
    if surface.scorer and "threshold" in surface.parameters:
        given = surface.parameters["threshold"]
        try:
            fits = 0.0 < float(given) <= 1.0
        except ValueError:
            fits = False
        if not fits:
            raise folder.error(flow.key, f"The threshold {given!r} is no number over 0 and up to 1.", "Correct it.")


def _check_conduct(folder: ConfigFolder, flow: Flow, catalog: nemo.RailCatalog, settings: RatchetSettings) -> None:
    surface, key = flow.surface, ("custom_data", "ratchet", "rails", flow.text)
    if not known_to_fail_closed(surface, catalog) and not flow.settings.unaudited:
        instead = _INSTEAD.get(surface.manifest)
        better = f" Use `{instead}` instead, or" if instead else ""
        raise folder.error(
            flow.key,
            f"The rail {surface.name!r} is not known to fail closed: it may allow what it could not check.",
            f"{better or 'To run it all the same,'} set {'.'.join(key)}: {{unaudited: true}}.".strip(),
        )
    if flow.rewrites and flow.settings.shadow:
        return
    if flow.rewrites:
        _check_rewriting(folder, flow, settings, key)
    elif flow.settings.on_rewrite is not None:
        raise folder.error((*key, "on_rewrite"), f"The rail {surface.name!r} never rewrites the text.", "Remove it.")


def _check_rewriting(folder: ConfigFolder, flow: Flow, settings: RatchetSettings, key: KeyPath) -> None:
    name, where = flow.surface.name, ".".join(map(str, key))
    if flow.settings.on_rewrite is None:
        problem = f"The rail {name!r} may rewrite the text, and nothing says whether it may."
        raise folder.error(flow.key, problem, f"Set {where}: {{on_rewrite: apply}}, or {{on_rewrite: block}} to block.")
    if flow.settings.on_rewrite == "block":
        return
    if flow.direction is Direction.OUTPUT and settings.streaming.mode != "buffered":
        raise folder.error(
            (*key, "on_rewrite"),
            f"In streaming mode {settings.streaming.mode} text has left before {name!r} could replace it.",
            "Set custom_data.ratchet.streaming.mode: buffered, or {on_rewrite: block}.",
        )
    side = flow.direction.lower()
    if ((folder.values.get("rails") or {}).get(side) or {}).get("parallel"):
        raise folder.error(
            ("rails", side, "parallel"),
            f"The rail {name!r} rewrites the text, and rails at its side would judge the text it replaces.",
            "Remove it.",
        )


def _check_model(folder: ConfigFolder, flow: Flow) -> None:
    if not flow.surface.asks_model:
        return
    types = {str(model.get("type")) for model in folder.values.get("models") or [] if isinstance(model, dict)}
    wanted = flow.surface.parameters.get("model")
    task = flow.surface.name.replace(" ", "_")
    if not (wanted in types if wanted else types & {"main", task, flow.surface.manifest}):
        name = wanted or "main"
        raise folder.error(
            flow.key,
            f"The rail {flow.text!r} asks a model of type {name!r}, and none is configured.",
            f"Add {{type: {name}, engine: {ENGINE}, model: base}} under models.",
        )


def _check_models(folder: ConfigFolder) -> None:
    seen: set[str] = set()
    for index, model in enumerate(folder.values.get("models") or []):
        key: KeyPath = ("models", index)
        if not isinstance(model, dict):
            raise folder.error(key, "A model is a mapping.", "Give it type, engine and model.")
        if model.get("engine") != ENGINE:
            raise folder.error(
                (*key, "engine"),
                f"The engine {model.get('engine')!r} is not available: rails ask the serving engine only.",
                f"Write `engine: {ENGINE}`; `model` is an adapter alias or digest, or `base`.",
            )
        if str(model.get("type")) in seen:
            raise folder.error(key, f"There are two models of type {model.get('type')!r}.", "Keep one.")
        seen.add(str(model.get("type")))
        for name, value in (model.get("parameters") or {}).items():
            if name not in _MODEL_PARAMETERS:
                raise folder.error(
                    (*key, "parameters", name), "Nobody reads it.", spelling_hint(name, _MODEL_PARAMETERS)
                )
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise folder.error((*key, "parameters", name), "It must be a whole number over 0.", "Correct it.")
        for name in ("api_key_env_var", "cache", "mode"):
            if name in model:
                raise folder.error((*key, name), "The serving engine has no such setting.", "Remove it.")
