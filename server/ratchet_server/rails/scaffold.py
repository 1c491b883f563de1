"""Writes the package of a new rail from the template beside it. It must not know what a rail does."""

from __future__ import annotations

import re
from pathlib import Path

from ratchet_server.rails.errors import RailScaffoldError

__all__ = ["new_rail_package"]

_TEMPLATE = Path(__file__).with_name("template")
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_RESERVED = {"ratchet", "nemoguardrails", "test"}
_FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "rail.py.txt": "src/@package@/__init__.py",
    "test_rail.py.txt": "tests/test_rail.py",
    "config.yml.txt": "profile/config.yml",
}


def new_rail_package(name: str, folder: Path) -> list[Path]:
    """Write a package with one rail, its test and a profile that uses it.

    Args:
        name: Of the distribution, in lower case with dashes, such as acme-topics.
        folder: Where; made if it is not there.

    Returns:
        The files written.

    Raises:
        RailScaffoldError: The name cannot be a package's, or a file is there already; nothing was written.
    """
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise RailScaffoldError(f"{name!r} cannot be the name of a package. Use lower case, digits and dashes.")
    package = name.replace("-", "_")
    words = {"@distribution@": name, "@package@": package, "@flow@": package.replace("_", " ")}
    files = {folder / _filled(path, words): (_TEMPLATE / source) for source, path in _FILES.items()}
    there = [path for path in files if path.exists()]
    if there:
        raise RailScaffoldError(f"{there[0]} is there already. Name another folder.")
    for path, source in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(source.read_text(encoding="utf-8"), words), encoding="utf-8")
    return list(files)


def _filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text
