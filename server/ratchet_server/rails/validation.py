"""Decides whether a configuration can be served exactly as it is written; anything else is a RailConfigError.

Upstream, most mistakes load as fewer rails than were meant. It must not compile or run a rail.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from ratchet_server.rails import nemo
from ratchet_server.rails.classifiers import refuse_idle_classifiers
from ratchet_server.rails.configfolder import ConfigFolder, KeyPath
from ratchet_server.rails.declared import check_declared
from ratchet_server.rails.flows import Flow, read_flows
from ratchet_server.rails.idle import refuse_idle_rails
from ratchet_server.rails.patterns import check_patterns
from ratchet_server.rails.settings import RatchetSettings, Streaming
from ratchet_server.rails.strictness import refuse_unknown_keys, spelling_hint
from ratchet_server.rails.twostage import refuse_idle_triage

__all__ = ["ValidConfig", "validate"]

# Known to NeMo, and never reached on the compiled path: accepting them would promise something that does not happen.
_COLANG_ONLY = "It belongs to NeMo's Colang dialog runtime, which is not used."
_UNUSED = {
    "flows": _COLANG_ONLY,
    "user_messages": _COLANG_ONLY,
    "bot_messages": _COLANG_ONLY,
    "docs": _COLANG_ONLY,
    "knowledge_base": _COLANG_ONLY,
    "core": _COLANG_ONLY,
    "actions_server_url": _COLANG_ONLY,
    "import_paths": "Imports are not followed.",
    "imported_paths": "Imports are not followed.",
    "config_path": "The folder is known.",
    "enable_multi_step_generation": _COLANG_ONLY,
    "streaming": "Streaming is set under custom_data.ratchet.streaming.",
    "enable_rails_exceptions": "Verdicts are typed here.",
    "passthrough": _COLANG_ONLY,
    "raw_llm_call_action": _COLANG_ONLY,
    "event_source_uid": _COLANG_ONLY,
    "tracing": "The server has its own metrics and traces.",
    "metrics": "The server has its own metrics and traces.",
}
_UNUSED_RAILS = {
    ("rails", "retrieval"): "The server retrieves nothing.",
    ("rails", "dialog"): _COLANG_ONLY,
    ("rails", "actions"): _COLANG_ONLY,
    ("rails", "tool_output"): "The server calls no tools.",
    ("rails", "tool_input"): "The server calls no tools.",
    ("rails", "input", "speculative_generation"): "Generation always races the input rails.",
    ("rails", "output", "streaming"): "NeMo's streaming releases text before it is judged; "
    "streaming is set under custom_data.ratchet.streaming.",
}


@dataclass(frozen=True, slots=True)
class ValidConfig:
    """A configuration that can be served as written.

    Attributes:
        source: What was read.
        nemo: NeMo's configuration object.
        settings: Ours, with the hold-back filled in.
        flows: All configured rails, in order, the disabled ones included.
    """

    source: ConfigFolder
    nemo: Any
    settings: RatchetSettings
    flows: tuple[Flow, ...]


def validate(folder: ConfigFolder, catalog: nemo.RailCatalog) -> ValidConfig:
    """Check a configuration.

    Args:
        folder: As read.
        catalog: The rails that exist.

    Raises:
        RailConfigError: It names the file, the key, the line and what to do.
    """
    values = folder.values
    refuse_unknown_keys(folder, nemo.RailsConfig, (), values)
    _refuse_unused(folder)
    _refuse_other_custom_data(folder)
    settings = _settings(folder)
    flows = read_flows(folder, catalog, settings)
    config = _nemo_config(folder)
    holdback = check_patterns(folder, config, settings.streaming, flows)
    refuse_idle_classifiers(folder, flows)
    refuse_idle_rails(folder, flows)
    check_declared(folder, config, settings.streaming, flows)
    refuse_idle_triage(folder, flows, parallel=bool(config.rails.input.parallel))
    streaming = settings.streaming.model_copy(update={"holdback_chars": holdback})
    return ValidConfig(folder, config, settings.model_copy(update={"streaming": streaming}), flows)


def _refuse_unused(folder: ConfigFolder) -> None:
    for key, why in _UNUSED.items():
        if key in folder.values:
            raise folder.error((key,), why, "Remove it.")
    for path, why in _UNUSED_RAILS.items():
        inner: Any = folder.values
        for word in path:
            inner = inner.get(word) if isinstance(inner, dict) else None
        if inner is not None:
            raise folder.error(path, why, "Remove it.")
    version = folder.values.get("colang_version", "1.0")
    if str(version) != "1.0":
        raise folder.error(
            ("colang_version",),
            f"Colang {version} configurations are not run; upstream deprecates them without a successor.",
            "List library rails under rails.input.flows and rails.output.flows and remove this key.",
        )


def _refuse_other_custom_data(folder: ConfigFolder) -> None:
    custom = folder.values.get("custom_data", {})
    known = {"ratchet", *nemo.custom_data_keys()}
    if not isinstance(custom, dict):
        raise folder.error(("custom_data",), "It must be a mapping.", f"Known are: {', '.join(sorted(known))}.")
    for key in custom:
        if key not in known:
            raise folder.error(("custom_data", key), "Nobody reads it.", spelling_hint(key, known))


def _settings(folder: ConfigFolder) -> RatchetSettings:
    key: KeyPath = ("custom_data", "ratchet")
    value = folder.values.get("custom_data", {}).get("ratchet")
    value = {} if value is None else value
    refuse_unknown_keys(folder, RatchetSettings, key, value)
    try:
        return RatchetSettings.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise folder.error(
            (*key, *first["loc"]), _sentence(first["msg"]), f"Allowed: {_allowed(first['loc'])}."
        ) from error


def _allowed(location: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = Streaming if location[:1] == ("streaming",) else RatchetSettings
    field = model.model_fields.get(str(location[-1])) if location else None
    return str(field.annotation).replace("typing.", "") if field is not None else "see the documentation of profiles"


def _nemo_config(folder: ConfigFolder) -> Any:
    values = copy.deepcopy(folder.values)
    values.setdefault("models", [])
    try:
        return nemo.RailsConfig.from_content(config=values)
    except ValidationError as error:
        first = error.errors()[0]
        key = first["loc"] or _guilty_key(first["msg"])
        raise folder.error(key, _sentence(first["msg"]), "Correct the value.") from error
    # Its validators raise plain and own exceptions, and some stumble over values of the wrong type.
    except Exception as error:
        raise folder.error(_guilty_key(str(error)), _sentence(str(error)), "Correct the configuration.") from error


def _guilty_key(message: str) -> KeyPath:
    if "prompt" in message:
        return ("prompts",)
    return ("models",) if "odel" in message else ()


def _sentence(message: str) -> str:
    plain = message.removeprefix("Value error, ")
    return plain if plain.endswith(".") else f"{plain}."
