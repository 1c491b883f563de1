"""The rails `ratchet pii ...` and `ratchet pii mask ...`: personal data and secrets blocked, or replaced by their kind.

Rules and checksums only: names and postal addresses, which take a language model, are not seen. `$kinds=EMAIL,CARD`
narrows what is looked for, `$regions=US,DE` whose national phone numbers. A kind that is a key or an address of a
mailbox is seen whole only once it is written to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
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

from ratchet_plugins.nemo.context import PARTIAL
from ratchet_plugins.nemo.declaration import Declaration, declares
from ratchet_plugins.nemo.errors import NemoRailError, RailMisconfigured
from ratchet_plugins.pii.recognisers import REGIONS, PiiKind, locate_pii

__all__ = ["RAIL", "block_pii", "mask_pii"]

# Number plans are matched in Python: ten thousand digits in odd groups take half a second.
MAX_CHARS = 50_000
# An address of a mailbox is the longest that is common.
_LONGEST = 128
_Found = list[tuple[int, int, PiiKind]]


def _kinds(kinds: str | None) -> tuple[PiiKind, ...]:
    try:
        return tuple(PiiKind(word) for word in kinds.split(",")) if kinds is not None else tuple(PiiKind)
    except ValueError:
        raise RailMisconfigured(
            f"$kinds={kinds} names a kind that does not exist.", f"Kinds are: {','.join(PiiKind)}."
        ) from None


def _regions(regions: str | None) -> tuple[str, ...]:
    from phonenumbers import SUPPORTED_REGIONS

    chosen = tuple(regions.split(",")) if regions is not None else REGIONS
    for region in chosen:
        if region not in SUPPORTED_REGIONS:
            raise RailMisconfigured(f"$regions={regions} has no country {region!r}.", "Write codes such as US,GB,DE.")
    return chosen


def _check(parameters: Mapping[str, str], config: Any) -> None:
    _kinds(parameters.get("kinds"))
    _regions(parameters.get("regions"))


async def _located(text: str, kinds: str | None, regions: str | None) -> _Found:
    if len(text) > MAX_CHARS:
        raise NemoRailError(f"The text has {len(text)} characters; personal data is looked for in {MAX_CHARS}.")
    found = await asyncio.to_thread(locate_pii, text, _kinds(kinds), _regions(regions))
    # What ends where a growing text ends may go on, and be something else: "10.20.30.40." may become a version.
    return [span for span in found if span[1] < len(text) - 1] if PARTIAL.get() else found


def _evidence(found: _Found) -> tuple[str, dict[str, Any]]:
    kinds = sorted({kind.value for _, _, kind in found})
    return ", ".join(kinds), {"spans": [(start, end, kind.value) for start, end, kind in found]}


@declares(Declaration(check=_check, longest_match=_LONGEST))
async def block_pii(text: str, kinds: str | None = None, regions: str | None = None, **_: Any) -> RailOutcome:
    """Block a text that holds personal data.

    Args:
        text: The text.
        kinds: Comma-separated names of PiiKind; None: all.
        regions: Comma-separated country codes; None: REGIONS.

    Returns:
        Block with kinds and places in reason and metadata, never the data; else allow.

    Raises:
        NemoRailError: The text is too long to be looked through.
    """
    found = await _located(text, kinds, regions)
    if not found:
        return RailOutcome.allow()
    reason, metadata = _evidence(found)
    return RailOutcome.block(reason=reason, metadata=metadata)


@declares(Declaration(check=_check, longest_match=_LONGEST))
async def mask_pii(side: str, text: str, kinds: str | None = None, regions: str | None = None, **_: Any) -> RailOutcome:
    """Replace personal data by placeholders such as `<EMAIL>`.

    Args:
        side: "user_message" or "bot_message", what is rewritten.
        text, kinds, regions: As for `block_pii`.

    Returns:
        Transform, with the places in the text as it was; allow if there is nothing to replace. What it returns holds
        nothing that it would replace.

    Raises:
        NemoRailError: The text is too long to be looked through.
    """
    found = before = await _located(text, kinds, regions)
    masked = text
    # A replacement can uncover its neighbour (two numbers glued together); each round leaves fewer.
    while found:
        for start, end, kind in reversed(found):
            masked = f"{masked[:start]}{kind.placeholder}{masked[end:]}"
        found = await _located(masked, kinds, regions)
    if masked == text:
        return RailOutcome.allow()
    reason, metadata = _evidence(before)
    return RailOutcome.transform([(TransformTarget(side), masked)], reason=reason, metadata=metadata)


_BLOCK = ActionRef(name="ratchet_block_pii", target="ratchet_plugins.nemo.pii:block_pii")
_MASK = ActionRef(name="ratchet_mask_pii", target="ratchet_plugins.nemo.pii:mask_pii")
_TEXT = {RailDirection.INPUT: "user_message", RailDirection.OUTPUT: "bot_message"}


def _surface(direction: RailDirection, *, mask: bool) -> RailSurface:
    key = _TEXT[direction]
    return RailSurface(
        name=f"ratchet pii {'mask ' if mask else ''}{direction.value}",
        direction=direction,
        action=_MASK if mask else _BLOCK,
        bindings=(
            *((Binding.literal("side", key),) if mask else ()),
            Binding.context("text", key),
            Binding.surface_param("kinds", "kinds", required=False),
            Binding.surface_param("regions", "regions", required=False),
        ),
        transform_target=TransformTarget(key) if mask else None,
    )


RAIL = RailManifest(
    name="ratchet.pii",
    metadata=RailMetadata(
        display_name="Ratchet personal data",
        description="Blocks or masks e-mail addresses, phone, card, account and social security numbers, IPs and keys.",
        categories=("input", "output"),
        capabilities=("allow", "block", "transform"),
        tags=("ratchet", "pii", "offline"),
    ),
    spec=RailSpec(
        actions=RailActions(refs=(_BLOCK, _MASK)),
        surfaces=tuple(_surface(direction, mask=mask) for direction in _TEXT for mask in (False, True)),
    ),
)
