"""A stock manifest with another action behind it: same name, same configuration. It must not know any rail."""

from __future__ import annotations

from collections.abc import Sequence

from nemoguardrails.manifests import ActionRef, RailActions, RailManifest, RailSurface

__all__ = ["replaced"]


def replaced(stock: RailManifest, action: ActionRef, surfaces: Sequence[RailSurface]) -> RailManifest:
    """Return the manifest with one action and other surfaces; put it in the stock one's place in a catalog."""
    changed = {"actions": RailActions(refs=(action,)), "surfaces": tuple(surfaces)}
    return stock.model_copy(update={"spec": stock.spec.model_copy(update=changed)})
