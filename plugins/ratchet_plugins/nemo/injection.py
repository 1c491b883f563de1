"""NeMo's injection rail, compiled once and failing closed, and the same for prompts: text in which a YARA rule matches.

Upstream compiles the rules for every text, on the event loop, and lets everything pass if they do not compile or none
is listed. Same flow `injection detection`, same configuration; `injection detection input` looks for orders to a model
to forget its own. It must not know profiles.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from nemoguardrails.actions.rail_outcome import RailOutcome
from nemoguardrails.manifests import (
    ActionRef,
    Binding,
    ConfigSpecRef,
    RailActions,
    RailConfigSchema,
    RailDirection,
    RailManifest,
    RailMetadata,
    RailRequirements,
    RailSpec,
    RailSurface,
)

from ratchet_plugins.nemo.declaration import Declaration, declares
from ratchet_plugins.nemo.errors import NemoRailError, RailMisconfigured

__all__ = ["RAIL", "match_injection", "match_prompt_injection"]

_KEY = ("rails", "config", "injection_detection")
_PROMPT = "prompt"
_STOCK = "nemoguardrails.library.injection_detection"
_MATCH_SECONDS = 5
_REASON_RULES = 8


@lru_cache(maxsize=64)
def _rules(sources: tuple[tuple[str, str], ...]) -> Any:
    """Compile rules.

    Args:
        sources: (name, text of the rules) pairs.

    Raises:
        RailMisconfigured: yara-python is missing, or a rule is refused.
    """
    try:
        yara = importlib.import_module("yara")
    except ImportError as error:
        raise RailMisconfigured("The rail needs yara-python.", "pip install yara-python") from error
    for name, source in sources:
        try:
            yara.compile(source=source)
        except yara.Error as error:
            raise RailMisconfigured(
                f"The rules {name!r} do not compile: {error}.", "Correct them.", (*_KEY, "yara_rules", name)
            ) from error
    return yara.compile(sources=dict(sources))


def _sources(config: Any) -> tuple[tuple[str, str], ...]:
    section = config.rails.config.injection_detection
    names = tuple(section.injections)
    own: Mapping[str, str] = section.yara_rules or {}
    if not names:
        raise RailMisconfigured(
            "No rules are listed, so the rail would never block.",
            "Name some: sqli, template, code, xss, or those of yara_rules.",
            (*_KEY, "injections"),
        )
    return tuple((name, own[name] if own else _stock(name)) for name in names if _known(name, own))


def _known(name: str, own: Mapping[str, str]) -> bool:
    there = sorted(own or {path.stem for path in _stock_folder().glob("*.yara")})
    if name in there:
        return True
    index = "yara_rules" if own else "NeMo's rules"
    raise RailMisconfigured(
        f"There is no rule set {name!r} in {index}.", f"There are: {', '.join(there)}.", (*_KEY, "injections")
    )


def _stock_folder() -> Path:
    return Path(str(importlib.import_module(_STOCK).__file__)).with_name("yara_rules")


def _stock(name: str) -> str:
    return (_stock_folder() / f"{name}.yara").read_text(encoding="utf-8")


def _prompt_sources() -> tuple[tuple[str, str], ...]:
    return ((_PROMPT, Path(__file__).with_name("yara").joinpath("prompt.yara").read_text(encoding="utf-8")),)


def _check(parameters: Mapping[str, str], config: Any) -> None:
    section = config.rails.config.injection_detection
    if section.action != "reject":
        raise RailMisconfigured(
            "Cutting an attack out of a text leaves what the cut joins, which may be an attack too.",
            "Set action: reject.",
            (*_KEY, "action"),
        )
    if section.yara_path:
        raise RailMisconfigured(
            "Rules in files are not part of the profile's version, so nobody could tell which rules judged.",
            "Write them under yara_rules, by name, and list the names under injections.",
            (*_KEY, "yara_path"),
        )
    _rules(_sources(config))


def _check_prompt(parameters: Mapping[str, str], config: Any) -> None:
    _rules(_prompt_sources())


@declares(Declaration(check=_check, whole_text=True))
async def match_injection(text: str, config: Any, **_: Any) -> RailOutcome:
    """Block an answer in which one of the configured rules matches.

    Args:
        text: The answer.
        config: The RailsConfig that holds `rails.config.injection_detection`.

    Returns:
        Block with the names of the rules that matched, never the matched text; else allow.

    Raises:
        RailMisconfigured: There are no rules, or they do not compile.
        NemoRailError: The text could not be searched in time.
    """
    return await _match(_sources(config), text)


@declares(Declaration(check=_check_prompt))
async def match_prompt_injection(text: str, **_: Any) -> RailOutcome:
    """Block a prompt that tells the model to forget its orders; as `match_injection`, with rules of this package."""
    return await _match(_prompt_sources(), text)


async def _match(sources: tuple[tuple[str, str], ...], text: str) -> RailOutcome:
    # YARA lets go of the interpreter while it searches.
    matches = await asyncio.to_thread(_search, _rules(sources), text.encode("utf-8", "surrogatepass"))
    if not matches:
        return RailOutcome.allow()
    names = sorted({match.rule for match in matches})
    return RailOutcome.block(reason=", ".join(names[:_REASON_RULES]), metadata={"rules": names})


def _search(rules: Any, data: bytes) -> Any:
    yara = importlib.import_module("yara")
    try:
        return rules.match(data=data, timeout=_MATCH_SECONDS)
    except yara.Error as error:
        raise NemoRailError(f"The rules could not be matched: {type(error).__name__}.") from error


_ANSWER = ActionRef(name="injection_detection", target="ratchet_plugins.nemo.injection:match_injection")
_INPUT = ActionRef(name="ratchet_prompt_injection", target="ratchet_plugins.nemo.injection:match_prompt_injection")

# It takes the place of the stock manifest in the merged catalog, so the name and the configuration key are the same.
RAIL = RailManifest(
    name="injection_detection",
    metadata=RailMetadata(
        display_name="Injection detection (YARA)",
        description="Blocks injected code, SQL and scripts in answers, and orders to forget orders in prompts.",
        categories=("input", "output"),
        capabilities=("allow", "block"),
        tags=("ratchet", "yara", "offline"),
    ),
    spec=RailSpec(
        config_schema=RailConfigSchema(
            key="injection_detection", spec=ConfigSpecRef(target=f"{_STOCK}.rail_config:build_config_spec")
        ),
        actions=RailActions(refs=(_ANSWER, _INPUT)),
        surfaces=(
            RailSurface(
                name="injection detection",
                direction=RailDirection.OUTPUT,
                action=_ANSWER,
                bindings=(Binding.context("text", "bot_message"),),
            ),
            RailSurface(
                name="injection detection input",
                direction=RailDirection.INPUT,
                action=_INPUT,
                bindings=(Binding.context("text", "user_message"),),
            ),
        ),
        requirements=RailRequirements(optional_dependencies=("yara-python",)),
    ),
)
