"""NeMo's rail catalog with our rails, RE2 for its regex rail, and those of the entry-point group `ratchet.rails`.

NeMo itself discovers no third-party rails. A rail that does not load stops start-up; it is never skipped.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from functools import lru_cache

from nemoguardrails.manifests import RailCatalog, RailManifest, RailManifestRecord, default_rail_catalog

from ratchet_plugins.nemo import advice, hf, injection, pii, regex, topic, toxicity, triage
from ratchet_plugins.nemo.errors import RailUnavailable

__all__ = ["GROUP", "custom_data_keys", "merged_catalog"]

GROUP = "ratchet.rails"
_OWN = (
    (triage.RAIL, "ratchet_plugins.nemo.triage:RAIL"),
    (toxicity.RAIL, "ratchet_plugins.nemo.toxicity:RAIL"),
    (pii.RAIL, "ratchet_plugins.nemo.pii:RAIL"),
    (advice.RAIL, "ratchet_plugins.nemo.advice:RAIL"),
)
# Ours in the place of stock ones, under their names.
_REPLACED = (
    (regex.RAIL, "ratchet_plugins.nemo.regex:RAIL"),
    (injection.RAIL, "ratchet_plugins.nemo.injection:RAIL"),
    (topic.RAIL, "ratchet_plugins.nemo.topic:RAIL"),
    (hf.RAIL, "ratchet_plugins.nemo.hf:RAIL"),
)


def merged_catalog(extra: Iterable[RailManifest] = ()) -> RailCatalog:
    """Return all rails that can be configured.

    Args:
        extra: Further manifests, for rails that no installed package declares.

    Raises:
        RailUnavailable: An entry point does not load or is no manifest, or two rails claim the same name.
    """
    replaced = {manifest.name for manifest, _ in _REPLACED}
    records = [record for name, record in default_rail_catalog().records.items() if name not in replaced]
    records += [RailManifestRecord(manifest=manifest, source=source) for manifest, source in (*_REPLACED, *_OWN)]
    records += _from_entry_points()
    records += [RailManifestRecord(manifest=manifest, source="given in code") for manifest in extra]
    try:
        return RailCatalog(records)
    except ValueError as error:
        raise RailUnavailable(f"Two rails collide: {error} Uninstall one of the packages that bring them.") from error


def custom_data_keys() -> frozenset[str]:
    """Return the keys under `custom_data` that belong to a rail of an installed package (a manifest's first word)."""
    return frozenset(record.manifest.name.partition(".")[0] for record in _from_entry_points())


@lru_cache(maxsize=1)
def _from_entry_points() -> tuple[RailManifestRecord, ...]:
    own = {source for _, source in _OWN}
    return tuple(
        RailManifestRecord(manifest=_load(point), source=f"entry point {point.value}")
        for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.value)
        if point.value not in own
    )


def _load(point: importlib.metadata.EntryPoint) -> RailManifest:
    try:
        manifest = point.load()
    # A third party's module may raise anything while it is imported.
    except Exception as error:
        raise RailUnavailable(
            f"The rail {point.name!r} ({point.value}) does not load: {type(error).__name__}: {error}. "
            "Repair or uninstall the package that brings it."
        ) from error
    if not isinstance(manifest, RailManifest):
        raise RailUnavailable(
            f"The entry point {point.name!r} of group {GROUP} is a {type(manifest).__name__}, not a RailManifest. "
            "Let it point at the manifest object."
        )
    return manifest
