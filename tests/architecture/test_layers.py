"""The layout keeps its promises: layers, sizes, light imports, and nothing heavy where it does not belong."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"proto": "ratchet", "server": "ratchet_server", "adapters": "ratchet_adapters", "plugins": "ratchet_plugins"}
HEAVY = ("torch", "vllm", "transformers", "nemoguardrails", "trl", "dbos", "detoxify")


def _loaded(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import ratchet.client",
        "import ratchet.cli, ratchet_server.cli",
        "import ratchet_server.settings",
        "import ratchet_adapters.registry, ratchet_adapters.flags, ratchet_adapters.artifacts",
        "import ratchet_adapters.learning",
        "import ratchet_server.rpc.server",
    ],
)
def test_importing_it_loads_nothing_heavy(statement: str) -> None:
    assert _loaded(statement) == set()


def test_the_client_needs_none_of_the_server() -> None:
    code = (
        "import sys, ratchet.client; "
        "print([m for m in sys.modules if m.startswith(('ratchet_', 'sqlalchemy', 'pydantic', 'numpy'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_the_layers_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _sources() -> list[Path]:
    files = [p for folder, package in FOLDERS.items() for p in (ROOT / folder / package).rglob("*.py")]
    return [p for p in files if "v1" not in p.parts and "migrations" not in p.parts]


def test_no_source_file_outgrows_500_lines() -> None:
    assert {str(p.relative_to(ROOT)): n for p in _sources() if (n := len(p.read_text().splitlines())) > 500} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(p.relative_to(ROOT))
        for p in _sources()
        if p.stat().st_size and not p.read_text().startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_no_top_level_folder_is_itself_a_package() -> None:
    assert [folder for folder in FOLDERS if (ROOT / folder / "__init__.py").exists()] == []
