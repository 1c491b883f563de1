"""NeMo's `hf classifier` rails: those that can never block, or fail on long texts, are refused.

It must not know any other rail.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ratchet_server.rails.configfolder import ConfigFolder, KeyPath
from ratchet_server.rails.flows import Flow
from ratchet_server.rails.strictness import spelling_hint

__all__ = ["refuse_idle_classifiers"]

_KEY: KeyPath = ("rails", "config", "hf_classifier")


def refuse_idle_classifiers(folder: ConfigFolder, flows: tuple[Flow, ...]) -> None:
    """Check the classifiers that flows select and those that none does.

    Raises:
        RailConfigError: A flow selects an unknown classifier; one blocks no label, or a label its model does not have;
            a local one would raise on texts longer than its window, or not return the label it is to block; or no
            flow uses one.
    """
    section = ((folder.values.get("rails") or {}).get("config") or {}).get("hf_classifier") or {}
    used = {flow.surface.parameters["classifier"]: flow for flow in flows if flow.surface.manifest == "hf_classifier"}
    for name, flow in used.items():
        if name not in section:
            raise folder.error(flow.key, f"There is no classifier {name!r}.", spelling_hint(name, section))
    for name, settings in section.items():
        if name not in used:
            raise folder.error((*_KEY, name), "No rail uses this classifier.", "List one, or remove it.")
        _check(folder, (*_KEY, name), settings)


def _check(folder: ConfigFolder, key: KeyPath, settings: dict[str, Any]) -> None:
    blocked = settings.get("blocked_labels") or []
    if not blocked:
        raise folder.error((*key, "blocked_labels"), "It is empty, so the rail never blocks.", "Name the labels.")
    if settings.get("engine", "local") != "local":
        return
    parameters = settings.get("parameters") or {}
    if parameters.get("truncation") is not True or not isinstance(parameters.get("max_length"), int):
        raise folder.error(
            (*key, "parameters"),
            "Without truncation the classifier raises on texts longer than its window.",
            "Add {truncation: true, max_length: 512}.",
        )
    texts = settings.get("task", "text-classification") == "text-classification"
    if texts and settings.get("threshold", 0.5) < 0.5 and parameters.get("top_k", 1) is not None:
        raise folder.error(
            (*key, "threshold"),
            "A label can reach a threshold under 0.5 without being the likeliest, and only the likeliest is returned.",
            "Add {top_k: null} to its parameters.",
        )
    model = Path(str(settings.get("model")), "config.json")
    if model.is_file():
        labels = set(json.loads(model.read_text(encoding="utf-8")).get("id2label", {}).values())
        for index, label in enumerate(blocked):
            if labels and label not in labels:
                hint = spelling_hint(str(label), map(str, labels))
                raise folder.error((*key, "blocked_labels", index), f"The model has no label {label!r}.", hint)
