"""NeMo's regex rail with a linear-time engine: same flows, same configuration, matched by RE2 instead of Python's `re`.

Upstream matches with `re` on the event loop, so `(a+)+$` and 25 characters stop the whole server for seconds. It must
not know profiles or streaming modes; it only knows whether more text follows.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2
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
    RailSpec,
    RailSurface,
)

from ratchet_plugins.nemo.context import PARTIAL
from ratchet_plugins.nemo.errors import UnsafePattern

__all__ = ["RAIL", "Pattern", "compile_patterns", "match_regex"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern.

    Attributes:
        matcher: The RE2 object.
        max_chars: The longest text it can match, in characters; None if there is no bound.
        looks_past_end: Whether what follows a match decides if it is one (`$`, `\\b`).
    """

    matcher: Any
    max_chars: int | None
    looks_past_end: bool


@lru_cache(maxsize=256)
def compile_patterns(patterns: tuple[str, ...], case_insensitive: bool) -> tuple[Pattern, ...]:
    """Compile patterns.

    Raises:
        UnsafePattern: One of them RE2 refuses, or it means nothing.
    """
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not case_insensitive
    return tuple(_compile(pattern, index, options) for index, pattern in enumerate(patterns))


def _compile(pattern: str, index: int, options: Any) -> Pattern:
    if not pattern:
        raise UnsafePattern(pattern, index, "it is empty and would match every text")
    try:
        matcher = re2.compile(pattern, options)
    except re2.error as error:
        detail = error.args[0] if error.args else error
        raise UnsafePattern(pattern, index, detail.decode() if isinstance(detail, bytes) else str(detail)) from error
    # RE2 does not tell how long a match can be; Python's parser does, for the syntax both share.
    parser = importlib.import_module("re._parser")
    try:
        width = parser.parse(pattern).getwidth()[1]
    except (ValueError, RecursionError, OverflowError) as error:
        raise UnsafePattern(pattern, index, str(error)) from error
    bounded = width < 1 << 31
    looks_past_end = any(sign in pattern for sign in ("$", r"\b", r"\B", r"\z"))
    return Pattern(matcher, int(width) if bounded else None, looks_past_end)


def _found(pattern: Pattern, text: str, partial: bool) -> bool:
    if not (partial and pattern.looks_past_end):
        return pattern.matcher.search(text) is not None
    return any(match.end() < len(text) for match in pattern.matcher.finditer(text))


async def match_regex(source: str, text: str, config: Any, **_: Any) -> RailOutcome:
    """Block a text in which a pattern of its side matches.

    Args:
        source: "input" or "output".
        text: The text to search.
        config: The RailsConfig that holds `rails.config.regex_detection`.

    Returns:
        Block with the indexes of the patterns that matched (not the matched text), else allow. While the text is
        still growing, a match that ends where the text ends counts only once what follows it is known, if its
        pattern depends on that.
    """
    section = getattr(config.rails.config.regex_detection, source)
    partial = PARTIAL.get()
    patterns = compile_patterns(tuple(section.patterns), section.case_insensitive)
    hits = [index for index, pattern in enumerate(patterns) if _found(pattern, text, partial)]
    if hits:
        named = ", ".join(map(str, hits))
        return RailOutcome.block(reason=f"{source} pattern {named} matched", metadata={"patterns": hits})
    return RailOutcome.allow()


_ACTION = ActionRef(name="detect_regex_pattern", target="ratchet_plugins.nemo.regex:match_regex")


def _surface(side: str, direction: RailDirection, key: str) -> RailSurface:
    return RailSurface(
        name=f"regex check {side}",
        direction=direction,
        action=_ACTION,
        bindings=(Binding.literal("source", side), Binding.context("text", key)),
    )


# It takes the place of the stock manifest in the merged catalog, so the name and the configuration key are the same.
RAIL = RailManifest(
    name="regex",
    metadata=RailMetadata(
        display_name="Regex detection (RE2)",
        description="Blocks text in which a configured pattern matches, in linear time.",
        categories=("input", "output"),
        capabilities=("allow", "block"),
        tags=("ratchet", "regex", "offline"),
    ),
    spec=RailSpec(
        config_schema=RailConfigSchema(
            key="regex_detection",
            spec=ConfigSpecRef(target="nemoguardrails.library.regex.rail_config:build_config_spec"),
        ),
        actions=RailActions(refs=(_ACTION,)),
        surfaces=(
            _surface("input", RailDirection.INPUT, "user_message"),
            _surface("output", RailDirection.OUTPUT, "bot_message"),
        ),
    ),
)
