"""NeMo's rails for any Hugging Face classifier, on all of a text and failing closed: same flows, same configuration.

Upstream cuts a long text at the classifier's window, so what stands behind a padding is never judged, and lets a text
pass for which a service returned nothing. It must not know profiles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from nemoguardrails.actions.rail_outcome import RailOutcome
from nemoguardrails.library.hf_classifier import rail as stock
from nemoguardrails.library.hf_classifier.backends import _get_or_create_pipeline, get_backend
from nemoguardrails.manifests import ActionRef, Binding, RailDirection, RailSurface

from ratchet_plugins.nemo.declaration import Declaration, declares
from ratchet_plugins.nemo.errors import NemoRailError, RailMisconfigured
from ratchet_plugins.nemo.replacing import replaced
from ratchet_plugins.nemo.segments import segments

__all__ = ["RAIL", "classify"]


def _load(parameters: Mapping[str, str], config: Any) -> None:
    """Upstream loads a classifier within the first request."""
    name = parameters["classifier"]
    settings = config.rails.config.hf_classifier[name]
    if settings.engine != "local":
        return
    try:
        _get_or_create_pipeline(settings.model, settings.task, settings.parameters)("warm-up")
    # Transformers raises anything for a model that is not there or does not fit.
    except Exception as error:
        raise RailMisconfigured(
            f"The classifier {name!r} cannot be loaded: {type(error).__name__}: {str(error)[:200]}.",
            "Name a folder with the model, or one that is in the cache.",
            ("rails", "config", "hf_classifier", name, "model"),
        ) from error


@declares(Declaration(warm_up=_load))
async def classify(text: str, classifier: str, config: Any, http_client: Any = None, **_: Any) -> RailOutcome:
    """Judge a text by a configured classifier, in overlapping pieces that fit a small window.

    Args:
        text: The text.
        classifier: Its name under `rails.config.hf_classifier`.
        config: The RailsConfig that holds it.
        http_client: For classifiers of another server.

    Returns:
        Block if a blocked label reaches the threshold in a piece, with the label and its highest score; else allow.

    Raises:
        NemoRailError: The classifier returned nothing for a piece that holds text.
        Exception: What the classifier raises; the rail has failed then.
    """
    if not text.strip():
        return RailOutcome.allow(reason="empty text")
    settings = config.rails.config.hf_classifier[classifier]
    backend = get_backend(settings, name=classifier, http_client=http_client)
    pieces = [piece for piece in segments(text) if piece.strip()]
    results = await asyncio.gather(*(backend.classify(piece) for piece in pieces))
    # A classifier of tokens has nothing to say of a text without such tokens; one of texts always has.
    if getattr(settings, "task", "text-classification") == "text-classification" and not all(results):
        raise NemoRailError(f"The classifier {classifier!r} returned nothing: check its server and its model.")
    seen = [(one["score"], one["label"]) for rows in results for one in rows if one["label"] in settings.blocked_labels]
    score, label = max(seen, default=(0.0, ""))
    evidence = {"score": score, "threshold": settings.threshold}
    if label and score >= settings.threshold:
        return RailOutcome.block(reason=f"{label} {score:.3f} reaches {settings.threshold:.3f}", metadata=evidence)
    return RailOutcome.allow(metadata=evidence)


_ACTION = ActionRef(name="ratchet_hf_classifier", target="ratchet_plugins.nemo.hf:classify")
_TEXT = {RailDirection.INPUT: "user_message", RailDirection.OUTPUT: "bot_message"}

RAIL = replaced(
    stock.RAIL,
    _ACTION,
    [
        RailSurface(
            name=f"hf classifier check {direction.value}",
            direction=direction,
            action=_ACTION,
            bindings=(
                Binding.context("text", key),
                Binding.surface_param("classifier", "classifier", required=True),
            ),
        )
        for direction, key in _TEXT.items()
    ],
)
