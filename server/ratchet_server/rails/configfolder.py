"""Reads the folder of a rail configuration: YAML files merged the way NeMo merges them, with the line of every key.

It must not know what any key means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ratchet_server.rails.colang import refused_colang
from ratchet_server.rails.errors import RailConfigError

__all__ = ["CASE_FILES", "ConfigFolder", "KeyPath", "read_config_file", "read_config_folder"]

KeyPath = tuple[str | int, ...]

_MAX_BYTES = 1 << 20
_JOINED_LISTS = ("models", "prompts", "instructions")
# Not configuration: what people keep beside it.
_BESIDE = (".md", ".txt")
CASE_FILES = ("cases.yaml", "cases.yml")


@dataclass(frozen=True, slots=True)
class ConfigFolder:
    """A rail configuration as read.

    Attributes:
        path: The folder.
        values: The merged content of its YAML files.
        places: File and line of every key, by path.
    """

    path: Path
    values: dict[str, Any]
    places: dict[KeyPath, tuple[Path, int]]

    def error(self, key: Sequence[str | int], problem: str, remedy: str) -> RailConfigError:
        """Return an error that names the place of a key, or of its nearest parent that is in a file."""
        for length in range(len(key), 0, -1):
            place = self.places.get(tuple(key[:length]))
            if place is not None:
                return RailConfigError(place[0], problem, remedy, key=_dotted(key), line=place[1])
        return RailConfigError(self.path, problem, remedy, key=_dotted(key))


def read_config_folder(folder: Path) -> ConfigFolder:
    """Read a configuration folder.

    Raises:
        RailConfigError: There is no config.yml, a file is not YAML, is too large, repeats a key, or holds something
            that would be ignored (code, Colang, a knowledge base, folders).
    """
    if not folder.is_dir():
        raise RailConfigError(folder, "There is no such folder.", "Name a folder with a config.yml.")
    merged = ConfigFolder(folder, {}, {})
    files = list(_yaml_files(folder))
    if not any(file.stem == "config" for file in files):
        raise RailConfigError(folder, "It holds no config.yml.", "Add one; an empty mapping `{}` means no rails.")
    for file in files:
        _merge(merged, file, _compose(file))
    return merged


def read_config_file(file: Path) -> ConfigFolder:
    """Read one YAML file alone, as strictly as those of a folder. Raises RailConfigError."""
    single = ConfigFolder(file, {}, {})
    _merge(single, file, _compose(file))
    return single


def _yaml_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.suffix in _BESIDE or file.name in CASE_FILES:
            continue
        if file.suffix == ".co":
            raise refused_colang(file)
        if file.suffix == ".py":
            raise RailConfigError(
                file,
                "Code in a configuration folder is never executed.",
                "Make it a rail manifest in an installed package (entry-point group `ratchet.rails`).",
            )
        if file.is_dir() or file.suffix not in (".yml", ".yaml"):
            raise RailConfigError(
                file,
                "This would be ignored: a configuration is YAML files in one folder.",
                "Remove it, or move it elsewhere.",
            )
        yield file


def _compose(file: Path) -> yaml.Node | None:
    if file.stat().st_size > _MAX_BYTES:
        raise RailConfigError(file, f"It is larger than {_MAX_BYTES} bytes.", "Split or shorten it.")
    try:
        text = file.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise RailConfigError(file, "It uses a YAML alias (`*name`).", "Write the value out in both places.")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise RailConfigError(file, f"It is not YAML: {error.problem}.", "Correct the syntax.", line=line) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RailConfigError(file, f"It is not YAML in UTF-8: {error}.", "Correct it.") from error


def _merge(into: ConfigFolder, file: Path, node: yaml.Node | None) -> None:
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        raise RailConfigError(file, "It is not a mapping.", "Begin with keys such as `rails:`.", line=1)
    for key, value, line in _entries(file, node):
        path: KeyPath = (key,)
        if key in _JOINED_LISTS:
            _extend(into, file, key, value)
        elif key in into.values:
            raise RailConfigError(
                file,
                f"The key is also set in {into.places[path][0].name}, and only one would count.",
                "Keep it in one file.",
                key=key,
                line=line,
            )
        else:
            into.values[key] = _content(into, file, value, path)
            into.places[path] = (file, line)
        into.places.setdefault(path, (file, line))


def _extend(into: ConfigFolder, file: Path, key: str, value: yaml.Node) -> None:
    if not isinstance(value, yaml.SequenceNode):
        raise RailConfigError(file, "It must be a list.", "Begin each item with `-`.", key=key)
    items = into.values.setdefault(key, [])
    for item in value.value:
        items.append(_content(into, file, item, (key, len(items))))


def _content(into: ConfigFolder, file: Path, node: yaml.Node, path: KeyPath) -> Any:
    into.places[path] = (file, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        content: dict[str, Any] = {}
        for key, value, line in _entries(file, node):
            content[key] = _content(into, file, value, (*path, key))
            into.places[(*path, key)] = (file, line)
        return content
    if isinstance(node, yaml.SequenceNode):
        return [_content(into, file, item, (*path, index)) for index, item in enumerate(node.value)]
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        line = node.start_mark.line + 1
        raise RailConfigError(file, f"The value cannot be read: {error}.", "Quote it.", line=line) from error


def _entries(file: Path, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node, int]]:
    seen: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            raise RailConfigError(file, "Keys must be plain words.", "Write the keys out.", line=line)
        if key.value in seen:
            raise RailConfigError(
                file, "The key appears twice, and only one would count.", "Keep one.", key=key.value, line=line
            )
        seen.add(key.value)
        yield str(key.value), value, line


def _dotted(key: Sequence[str | int]) -> str:
    return ".".join(map(str, key))
