"""What a single run may choose: numbers of its dataset and of its training, over the learner's own.

Must not know how they are used. A server checks a request with `check_options` before it queues the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ratchet_adapters.datasets.errors import MixInvalid, MixUnknown
from ratchet_adapters.datasets.mix import read_mix
from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.learning.errors import RunOptionsInvalid, UnknownMethod
from ratchet_adapters.training.errors import MethodUnknown
from ratchet_adapters.training.methods import SFT_REFUSAL, methods
from ratchet_adapters.training.methods import method as method_named
from ratchet_adapters.training.recipe import Recipe

__all__ = ["DEFAULT_METHOD", "RunOptions", "check_options", "run_options"]

DEFAULT_METHOD = SFT_REFUSAL
_SECTIONS = ("dataset", "training")

_Section = TypeVar("_Section", bound=BaseModel)


@dataclass(frozen=True)
class RunOptions:
    """The numbers of one run.

    Attributes:
        dataset: What the dataset is mixed of.
        training: The recipe.
    """

    dataset: DatasetSettings
    training: Recipe


def check_options(method: str, options: Mapping[str, Any]) -> None:
    """Refuse what no learner could carry out, whatever its settings.

    Raises:
        UnknownMethod: There is no such method.
        RunOptionsInvalid: A key is unknown or a value out of range.
    """
    run_options(method, options, DatasetSettings(), {})


def run_options(
    method: str, options: Mapping[str, Any], dataset: DatasetSettings, recipes: Mapping[str, Mapping[str, Any]]
) -> RunOptions:
    """Lay the options of a run over the learner's settings, and those over what the method itself needs.

    Args:
        method: Name of the training method.
        options: `{"dataset": {...}, "training": {...}}`, both optional, with fields of the two settings. The dataset
            may name a mix (`"mix": "refusals-only"`, or the path of a file here); fields beside it go over the mix.
        dataset: The learner's.
        recipes: The learner's changes to the methods' recipes, by method.

    Raises: as `check_options`.
    """
    try:
        chosen = method_named(method)
    except MethodUnknown as error:
        raise UnknownMethod(method, tuple(sorted(methods()))) from error
    known = ", ".join(_SECTIONS)
    problems = [f"{key}: there is no such option; there are {known}" for key in options if key not in _SECTIONS]
    given = {name: options.get(name, {}) for name in _SECTIONS}
    problems += [f"{name}: it is not a JSON object" for name, value in given.items() if not isinstance(value, Mapping)]
    if problems:
        raise RunOptionsInvalid(method, tuple(problems))
    # What somebody set counts; what the method needs replaces only defaults.
    needed = {**dataset.model_dump(), **chosen.dataset, **dataset.model_dump(exclude_unset=True)}
    laid_dataset = _laid(DatasetSettings, needed, _mixed(given["dataset"], problems), "dataset", problems)
    # Whoever may start a run must not be able to widen what one principal can plant in a dataset.
    loosened = set(dataset.loosened(laid_dataset) if laid_dataset else ()) | (
        {"principal_limits"} & {*given["dataset"]}
    )
    if loosened & {"max_items_per_principal", "principal_limits"}:
        problems.append("dataset: a run may lower the bound per principal, not raise it; that is the learner's setting")
    elif loosened:
        names = ", ".join(sorted(loosened))
        problems.append(f"dataset: a run may not loosen a protection ({names}); those are the learner's settings")
    laid_training = _laid(chosen.settings, recipes.get(method, {}), given["training"], "training", problems)
    if problems or laid_dataset is None or laid_training is None:
        raise RunOptionsInvalid(method, tuple(problems))
    return RunOptions(laid_dataset, laid_training)


def _mixed(given: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    fields = {key: value for key, value in given.items() if key != "mix"}
    if "mix" not in given:
        return fields
    try:
        return {**read_mix(str(given["mix"])), **fields}
    except (MixInvalid, MixUnknown) as error:
        problems.append(f"dataset.mix: {error}")
        return fields


def _laid(
    kind: type[_Section], below: Mapping[str, Any], given: Mapping[str, Any], name: str, problems: list[str]
) -> _Section | None:
    try:
        return kind.model_validate({**below, **given})
    except ValidationError as error:
        problems += [f"{'.'.join((name, *map(str, entry['loc'])))}: {entry['msg']}" for entry in error.errors()]
        return None
