"""What may be in an adapter folder, and what it says about itself. Nothing in it is executed or loaded.

It must not know where the folder came from, nor the engine. Whether the adapter *does* anything is proven in the
engine; this only refuses what cannot work, is dangerous, or belongs to another base model.
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet_adapters.artifacts.base_shapes import check_shapes
from ratchet_adapters.artifacts.digest import is_digest
from ratchet_adapters.artifacts.errors import (
    AdapterInvalid,
    AdapterIsNoop,
    PickleRefused,
    RankTooHigh,
    UnexpectedFile,
    WrongBase,
)
from ratchet_adapters.artifacts.manifest import Manifest
from ratchet_adapters.artifacts.safetensors_file import TensorInfo, read_tensors

__all__ = ["CONFIG", "PROVENANCE", "WEIGHTS", "AdapterManifest", "LoraPair", "check_file_name", "inspect_adapter"]

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PROVENANCE = "ratchet.json"
_ALLOWED = {CONFIG, WEIGHTS, PROVENANCE, "README.md"}
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".dill", ".mar"}
_TENSOR = re.compile(r"base_model\.model\.(?P<module>[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)\.lora_(?P<side>[AB])\.weight")
_MAX_JSON = 1 << 20
# Extensions of LoRA that the engine would ignore or refuse: set, they change what the adapter means.
_EXTENSIONS = (
    "modules_to_save", "use_dora", "lora_bias", "rank_pattern", "alpha_pattern", "layer_replication",
    "trainable_token_indices", "target_parameters", "alora_invocation_tokens", "use_qalora", "use_bdlora",
    "velora_config", "monteclora_config", "arrow_config", "kasa_config", "fan_in_fan_out", "megatron_config",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AdapterManifest:
    """An accepted adapter folder.

    Attributes:
        digest: The digest the artifact store will give it.
        rank: LoRA rank.
        alpha: LoRA alpha.
        target_modules: Last names of the adapted modules, sorted.
        base_fingerprint: The base model it is for; empty when neither the folder nor the caller said.
        size_bytes: Size of all files.
    """

    digest: str
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    base_fingerprint: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LoraPair:
    """One adapted module: its path, A of shape (rank, inputs), B of shape (outputs, rank)."""

    module: str
    a: TensorInfo
    b: TensorInfo


def check_file_name(name: str) -> str:
    """Return a file name that may be in an adapter folder.

    Raises:
        PickleRefused: It names a pickle.
        UnexpectedFile: It is a path, or any other name.
    """
    if name in _ALLOWED:
        return name
    shown = repr(name[:128])
    if "/" in name or "\\" in name or name in {"", ".", ".."} or "\0" in name:
        raise UnexpectedFile(shown, "it is a path, not a plain file name")
    if Path(name).suffix.lower() in _PICKLES:
        raise PickleRefused(shown, "it is a pickle, and reading a pickle runs code")
    raise UnexpectedFile(shown, "it does not belong in an adapter folder")


def inspect_adapter(
    folder: Path,
    *,
    base_fingerprint: str | None,
    max_rank: int,
    base_config: Mapping[str, Any] | None = None,
    max_bytes: int = 2 << 30,
) -> AdapterManifest:
    """Check an adapter folder and return what it is.

    Args:
        folder: A PEFT LoRA folder.
        base_fingerprint: Fingerprint of the base model it must be for; None: any.
        max_rank: Highest accepted rank.
        base_config: The base model's `config.json`. With it shapes are compared, and an adapter without `ratchet.json`
            is accepted when they fit.
        max_bytes: Largest accepted weights file.

    Raises:
        PickleRefused, UnexpectedFile, AdapterTruncated, AdapterInvalid, RankTooHigh, AdapterIsNoop, WrongBase.
    """
    size = _check_files(folder, max_bytes)
    config = _read_json(folder / CONFIG)
    rank, alpha = _check_config(config, max_rank)
    pairs = _pairs(read_tensors(folder / WEIGHTS), rank)
    _check_targets(config, pairs)
    base = _check_base(folder, base_fingerprint, base_config, pairs)
    if alpha == 0 or all(pair.a.zero or pair.b.zero for pair in pairs):
        raise AdapterIsNoop(WEIGHTS, "every low-rank product is zero, so it changes nothing")
    names = tuple(sorted({pair.module.rpartition(".")[2] for pair in pairs}))
    return AdapterManifest(Manifest.read(folder).digest, rank, alpha, names, base, size)


def _check_files(folder: Path, max_bytes: int) -> int:
    if folder.is_symlink() or not folder.is_dir():
        raise UnexpectedFile(str(folder), "it is not a folder")
    size, found = 0, set()
    for path in sorted(folder.iterdir()):
        check_file_name(path.name)
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise UnexpectedFile(path.name, "it is a link, a folder or a special file")
        limit = max_bytes if path.name == WEIGHTS else _MAX_JSON
        if status.st_size > limit:
            raise AdapterInvalid(path.name, f"{status.st_size} bytes are over the limit of {limit}")
        found.add(path.name)
        size += status.st_size
    for name in (CONFIG, WEIGHTS):
        if name not in found:
            raise AdapterInvalid(name, "it is missing")
    return size


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AdapterInvalid(path.name, f"it is not JSON ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise AdapterInvalid(path.name, "it is not a JSON object")
    return value


def _check_config(config: Mapping[str, Any], max_rank: int) -> tuple[int, float]:
    if config.get("peft_type") != "LORA":
        raise AdapterInvalid(CONFIG, f"peft_type is {config.get('peft_type')!r}, not 'LORA'")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise AdapterInvalid(CONFIG, f"task_type is {config.get('task_type')!r}, not 'CAUSAL_LM'")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise AdapterInvalid(CONFIG, "r is not a positive integer")
    if rank > max_rank:
        raise RankTooHigh(CONFIG, rank, max_rank)
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not _finite(alpha):
        raise AdapterInvalid(CONFIG, "lora_alpha is not a finite number")
    if config.get("bias", "none") != "none":
        raise AdapterInvalid(CONFIG, f"bias is {config.get('bias')!r}, not 'none'")
    for key in _EXTENSIONS:
        if config.get(key):
            raise AdapterInvalid(CONFIG, f"{key} is set")
    return rank, float(alpha)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _pairs(tensors: tuple[TensorInfo, ...], rank: int) -> tuple[LoraPair, ...]:
    sides: dict[str, dict[str, TensorInfo]] = {}
    for tensor in tensors:
        match = _TENSOR.fullmatch(tensor.name)
        if match is None:
            raise AdapterInvalid(WEIGHTS, f"{tensor.name[:200]!r} is not base_model.model.<module>.lora_A|B.weight")
        sides.setdefault(match["module"], {})[match["side"]] = tensor
    if not sides:
        raise AdapterInvalid(WEIGHTS, "it holds no tensor")
    pairs = []
    for module, pair in sorted(sides.items()):
        if set(pair) != {"A", "B"}:
            raise AdapterInvalid(WEIGHTS, f"{module} has lora_{next(iter(pair))} only")
        a, b = pair["A"], pair["B"]
        if len(a.shape) != 2 or len(b.shape) != 2 or 0 in (*a.shape, *b.shape):
            raise AdapterInvalid(WEIGHTS, f"{module} is not a pair of non-empty matrices")
        if a.shape[0] != rank or b.shape[1] != rank:
            raise AdapterInvalid(
                WEIGHTS, f"{module} has ranks {a.shape[0]} (A) and {b.shape[1]} (B); {CONFIG} says r = {rank}"
            )
        pairs.append(LoraPair(module, a, b))
    return tuple(pairs)


def _check_targets(config: Mapping[str, Any], pairs: tuple[LoraPair, ...]) -> None:
    targets = config.get("target_modules")
    if isinstance(targets, str) and targets:
        return  # A regular expression or "all-linear": PEFT resolved it when it trained; the tensors say the result.
    if not isinstance(targets, list) or not targets or not all(isinstance(name, str) for name in targets):
        raise AdapterInvalid(CONFIG, "target_modules is neither a name nor a list of names")
    for pair in pairs:
        if not any(pair.module == name or pair.module.endswith(f".{name}") for name in targets):
            raise AdapterInvalid(WEIGHTS, f"{pair.module} is not among the target_modules of {CONFIG}")


def _check_base(
    folder: Path, expected: str | None, base_config: Mapping[str, Any] | None, pairs: tuple[LoraPair, ...]
) -> str:
    found = ""
    if (folder / PROVENANCE).exists():
        value = _read_json(folder / PROVENANCE).get("base_fingerprint")
        if not isinstance(value, str) or not is_digest(value):
            raise AdapterInvalid(PROVENANCE, "base_fingerprint is not of the form sha256:<64 hex digits>")
        found = value
    if expected is not None and found and found != expected:
        raise WrongBase(PROVENANCE, f"it is for base {found}, not {expected}", expected=expected, found=found)
    if base_config is not None:
        check_shapes(
            base_config,
            {pair.module: (pair.a.shape[1], pair.b.shape[0]) for pair in pairs},
            expected=expected or "",
            found=found,
        )
        return found or expected or ""
    if expected is not None and not found:
        raise WrongBase(
            PROVENANCE, "it is missing, so nothing says which base model this is for", expected=expected, found=""
        )
    return found
