"""Mix recipes: named YAML files with the numbers of a dataset build.

It must not know how the numbers are used. A key that is unknown or given twice is an error that names its line.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ratchet_adapters.datasets.errors import MixInvalid, MixUnknown
from ratchet_adapters.datasets.settings import DatasetSettings

__all__ = ["load_mix", "mix_names", "read_mix"]

_PACKAGE = "ratchet_adapters.datasets"
_FOLDER = "mixes"
_SUFFIXES = (".yaml", ".yml")
_LARGEST = 64 << 10


def mix_names() -> tuple[str, ...]:
    """Return the names of the shipped mixes, sorted."""
    folder = resources.files(_PACKAGE).joinpath(_FOLDER)
    return tuple(sorted(e.name.removesuffix(".yaml") for e in folder.iterdir() if e.name.endswith(".yaml")))


def load_mix(name: str) -> DatasetSettings:
    """Return the settings of a mix: its own numbers, and the defaults for the rest.

    Raises: as `read_mix`.
    """
    return DatasetSettings(**read_mix(name))


def read_mix(name: str) -> dict[str, Any]:
    """Return the numbers a mix gives, by field of `DatasetSettings`, to be laid over other settings.

    Args:
        name: Of a shipped mix, or the path of a file ending in .yaml or .yml.

    Raises:
        MixUnknown: There is no shipped mix of that name.
        MixInvalid: The file is missing or not YAML, or a key or value is wrong.
    """
    if name.endswith(_SUFFIXES):
        return _parsed(name, _content(Path(name)))
    if name not in mix_names():
        raise MixUnknown(name, mix_names())
    file = resources.files(_PACKAGE).joinpath(_FOLDER, f"{name}.yaml")
    return _parsed(file.name, file.read_text(encoding="utf-8"))


def _content(path: Path) -> str:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            raise MixInvalid(str(path), f"it is no file of at most {_LARGEST >> 10} KiB")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MixInvalid(str(path), f"it can not be read ({type(error).__name__})") from error


def _parsed(source: str, content: str) -> dict[str, Any]:
    try:
        node = yaml.compose(content, Loader=yaml.SafeLoader)
        # An alias can make a small file huge, and no recipe needs one.
        aliased = any(isinstance(token, yaml.AliasToken) for token in yaml.scan(content, Loader=yaml.SafeLoader))
        values = None if aliased else yaml.safe_load(content)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise MixInvalid(source, "it is not YAML", line=mark.line + 1 if mark else 0) from error
    if not isinstance(node, yaml.MappingNode) or not isinstance(values, dict):
        raise MixInvalid(source, "it is not a mapping of settings to values, without aliases")
    lines = _lines(source, node)
    for key, line in lines.items():
        if key not in DatasetSettings.model_fields:
            raise MixInvalid(source, "there is no such setting", line=line, key=key)
    try:
        DatasetSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise MixInvalid(source, first["msg"], line=lines.get(str(first["loc"][0]), 0), key=key) from error
    return values


def _lines(source: str, node: yaml.MappingNode) -> dict[str, int]:
    """The line of each key, of nested mappings too checked for keys given twice."""
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            raise MixInvalid(source, "a key is not a plain text", line=line)
        if key.value in lines:
            raise MixInvalid(source, f"it stands in line {lines[key.value]} already", line=line, key=key.value)
        lines[key.value] = line
        if isinstance(value, yaml.MappingNode):
            _lines(source, value)
    return lines
