"""The rails of regulated advice: an answer may inform, and may not tell its reader what to do with their money.

`ratchet advice output` blocks specific advice. `ratchet disclaimer output` blocks an answer on the subject without its
disclaimer; `ratchet disclaimer append output` adds it. Both read `custom_data.ratchet.advice`. A sentence is specific
advice if it directs the reader to a transaction in an instrument; naming risks, explaining terms and pointing to an
adviser are not. Rules see wording, not intent: put a rail that asks a model behind them where it matters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nemoguardrails.actions.rail_outcome import RailOutcome, TransformTarget
from nemoguardrails.manifests import (
    ActionRef,
    Binding,
    RailActions,
    RailDirection,
    RailManifest,
    RailMetadata,
    RailSpec,
    RailSurface,
)

from ratchet_plugins.nemo.advice_finance import FINANCE, AdviceRules
from ratchet_plugins.nemo.declaration import Declaration, declares
from ratchet_plugins.nemo.errors import RailMisconfigured, UnsafePattern
from ratchet_plugins.nemo.regex import compile_patterns

__all__ = ["DOMAINS", "RAIL", "append_disclaimer", "block_advice", "require_disclaimer"]

DOMAINS: Mapping[str, AdviceRules] = {"finance": FINANCE}
_KEY = ("custom_data", "ratchet", "advice")
_LONGEST_SENTENCE = 400
_SENTENCE = re.compile(r"[^.!?\n]*(?:[.](?=\S)[^.!?\n]*)*[.!?\n]?")


def _section(config: Any) -> Mapping[str, Any]:
    found = ((config.custom_data or {}).get("ratchet") or {}).get("advice")
    if not found:
        raise RailMisconfigured("There are no settings for regulated advice.", f"Add {'.'.join(_KEY)}.", _KEY[:2])
    return found  # type: ignore[no-any-return]


def _rules(config: Any) -> AdviceRules:
    domain = _section(config).get("domain", "finance")
    if domain not in DOMAINS:
        raise RailMisconfigured(
            f"There are no rules for {domain!r}.", f"There are some for: {', '.join(DOMAINS)}.", (*_KEY, "domain")
        )
    return DOMAINS[domain]


def _disclaimers(config: Any) -> list[tuple[Any, str]]:
    """The (matcher of the subject, text) pairs that are configured."""
    pairs = _section(config).get("disclaimers") or []
    if not pairs:
        raise RailMisconfigured("No disclaimer is configured.", "Add {when, text} entries.", (*_KEY, "disclaimers"))
    found = []
    for index, pair in enumerate(pairs):
        try:
            (pattern,) = compile_patterns((str(pair["when"]),), True)
        except UnsafePattern as error:
            raise RailMisconfigured(
                f"The pattern {error.pattern!r} is refused: {error.why}.",
                "Write it without lookaround and backreferences.",
                (*_KEY, "disclaimers", index, "when"),
            ) from error
        found.append((pattern.matcher, str(pair["text"])))
    return found


def _check_advice(parameters: Mapping[str, str], config: Any) -> None:
    _rules(config)


def _check_disclaimers(parameters: Mapping[str, str], config: Any) -> None:
    _disclaimers(config)


@declares(Declaration(check=_check_advice, longest_match=_LONGEST_SENTENCE))
async def block_advice(text: str, config: Any, **_: Any) -> RailOutcome:
    """Block an answer that tells its reader which transaction to make.

    Args:
        text: The answer.
        config: The RailsConfig with `custom_data.ratchet.advice`.

    Returns:
        Block with the places of the sentences that advise, never their text; else allow.

    Raises:
        RailMisconfigured: The settings are missing or name an unknown domain.
    """
    rules = _rules(config)
    spans = [(start, end, "ADVICE") for start, end in _sentences(text) if rules.advises(text[start:end])]
    if not spans:
        return RailOutcome.allow()
    return RailOutcome.block(reason=f"specific advice in {len(spans)} sentence(s)", metadata={"spans": spans})


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    yield from (match.span() for match in _SENTENCE.finditer(text) if match.group().strip())


@declares(Declaration(check=_check_disclaimers, whole_text=True, guards_presence=True))
async def require_disclaimer(text: str, config: Any, **_: Any) -> RailOutcome:
    """Block an answer on a subject without the disclaimer of that subject; see `block_advice` for arguments."""
    missing = _missing(text, _disclaimers(config))
    if not missing:
        return RailOutcome.allow()
    return RailOutcome.block(reason=f"{len(missing)} required disclaimer(s) missing")


@declares(Declaration(check=_check_disclaimers, whole_text=True, guards_presence=True))
async def append_disclaimer(text: str, config: Any, **_: Any) -> RailOutcome:
    """Append the disclaimers that an answer on their subject lacks; see `block_advice` for arguments."""
    missing = _missing(text, _disclaimers(config))
    if not missing:
        return RailOutcome.allow()
    whole = "\n\n".join([text.rstrip(), *missing])
    return RailOutcome.transform([(TransformTarget.BOT_MESSAGE, whole)], reason=f"{len(missing)} disclaimer(s) added")


def _missing(text: str, disclaimers: Sequence[tuple[Any, str]]) -> list[str]:
    there = _folded(text)
    return [wanted for matcher, wanted in disclaimers if matcher.search(text) and _folded(wanted) not in there]


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _surface(name: str, action: ActionRef, *, rewrites: bool = False) -> RailSurface:
    return RailSurface(
        name=name,
        direction=RailDirection.OUTPUT,
        action=action,
        bindings=(Binding.context("text", "bot_message"),),
        transform_target=TransformTarget.BOT_MESSAGE if rewrites else None,
    )


_ADVICE = ActionRef(name="ratchet_block_advice", target="ratchet_plugins.nemo.advice:block_advice")
_REQUIRE = ActionRef(name="ratchet_require_disclaimer", target="ratchet_plugins.nemo.advice:require_disclaimer")
_APPEND = ActionRef(name="ratchet_append_disclaimer", target="ratchet_plugins.nemo.advice:append_disclaimer")

RAIL = RailManifest(
    name="ratchet.advice",
    metadata=RailMetadata(
        display_name="Ratchet regulated advice",
        description="Blocks specific financial advice, and requires or adds the disclaimers of a subject.",
        categories=("output",),
        capabilities=("allow", "block", "transform"),
        tags=("ratchet", "regulated", "offline"),
    ),
    spec=RailSpec(
        actions=RailActions(refs=(_ADVICE, _REQUIRE, _APPEND)),
        surfaces=(
            _surface("ratchet advice output", _ADVICE),
            _surface("ratchet disclaimer output", _REQUIRE),
            _surface("ratchet disclaimer append output", _APPEND, rewrites=True),
        ),
    ),
)
