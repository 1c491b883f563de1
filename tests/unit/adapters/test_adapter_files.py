"""What an adapter folder may hold: everything else is refused with the type that says why."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratchet_adapters.artifacts import (
    AdapterFileError,
    AdapterInvalid,
    AdapterIsNoop,
    AdapterTruncated,
    Manifest,
    PickleRefused,
    RankTooHigh,
    UnexpectedFile,
    WrongBase,
    check_file_name,
    inspect_adapter,
)

BASE = "sha256:" + "b" * 64
OTHER = "sha256:" + "c" * 64
Make = Callable[..., Path]
Tensors = dict[str, np.ndarray[Any, Any]]


def inspect(folder: Path, **arguments: Any) -> Any:
    return inspect_adapter(folder, **{"base_fingerprint": BASE, "max_rank": 8, **arguments})


def test_a_good_adapter_is_described(make_adapter: Make, base_config: dict[str, int]) -> None:
    folder = make_adapter()
    found = inspect(folder, base_config=base_config)
    assert (found.rank, found.alpha, found.target_modules, found.base_fingerprint) == (
        4,
        8.0,
        ("q_proj", "v_proj"),
        BASE,
    )
    assert found.digest == Manifest.read(folder).digest
    assert found.size_bytes == sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize("name", ["adapter_model.bin", "x.pt", "x.PKL", "training_args.bin", "a.ckpt"])
def test_a_pickle_is_refused_unread(make_adapter: Make, name: str) -> None:
    folder = make_adapter()
    (folder / name).write_bytes(pickle.dumps({}))
    with pytest.raises(PickleRefused, match="safetensors"):
        inspect(folder)


@pytest.mark.parametrize("data", [pickle.dumps({"a": list(range(500))}), b"PK\x03\x04" + b"x" * 100])
def test_a_pickle_named_safetensors_is_refused(make_adapter: Make, data: bytes) -> None:
    folder = make_adapter()
    (folder / "adapter_model.safetensors").write_bytes(data)
    with pytest.raises(PickleRefused):
        inspect(folder)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1])
def test_truncated_weights_are_refused(make_adapter: Make, keep: int) -> None:
    weights = make_adapter() / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(AdapterTruncated):
        inspect(weights.parent)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_garbage_weights_raise_only_typed_errors(make_adapter: Make, data: bytes) -> None:
    folder = make_adapter()
    (folder / "adapter_model.safetensors").write_bytes(data)
    with pytest.raises(AdapterFileError):
        inspect(folder)


def test_an_adapter_for_another_base_is_refused(make_adapter: Make) -> None:
    with pytest.raises(WrongBase) as caught:
        inspect(make_adapter(provenance=OTHER))
    assert (caught.value.expected, caught.value.found) == (BASE, OTHER)


def test_without_provenance_only_fitting_shapes_are_accepted(make_adapter: Make, base_config: dict[str, int]) -> None:
    folder = make_adapter(provenance=None)
    with pytest.raises(WrongBase):
        inspect(folder)
    assert inspect(folder, base_config=base_config).base_fingerprint == BASE
    for change in ({"hidden_size": 32}, {"num_hidden_layers": 1}, {"num_key_value_heads": 1}):
        with pytest.raises(WrongBase):
            inspect(folder, base_config={**base_config, **change})


@pytest.mark.parametrize("provenance", ["nonsense", 3, ""])
def test_unreadable_provenance_is_refused(make_adapter: Make, provenance: object) -> None:
    with pytest.raises(AdapterInvalid):
        inspect(make_adapter(provenance=provenance))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_an_adapter_with_zero_b_is_a_noop(make_adapter: Make, tensors: Tensors, dtype: str, zero: float) -> None:
    weights = {name: np.full_like(t, zero) if "lora_B" in name else t for name, t in tensors.items()}
    with pytest.raises(AdapterIsNoop):
        inspect(make_adapter({name: tensor.astype(dtype) for name, tensor in weights.items()}))


def test_an_alpha_of_zero_is_a_noop(make_adapter: Make) -> None:
    with pytest.raises(AdapterIsNoop):
        inspect(make_adapter(lora_alpha=0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(make_adapter: Make, tensors: Tensors, value: float) -> None:
    next(iter(tensors.values()))[0, 0] = value
    with pytest.raises(AdapterInvalid, match="NaN"):
        inspect(make_adapter())


def test_a_rank_over_the_limit_is_refused(make_adapter: Make) -> None:
    with pytest.raises(RankTooHigh) as caught:
        inspect(make_adapter(), max_rank=3)
    assert (caught.value.rank, caught.value.limit) == (4, 3)


@pytest.mark.parametrize(
    "config",
    [{"modules_to_save": ["lm_head"]}, {"use_dora": True}, {"bias": "all"}, {"r": 8}, {"r": 0}, {"r": True}, {"r": "4"},
     {"lora_alpha": None}, {"lora_alpha": float("nan")}, {"lora_alpha": 10**400}, {"peft_type": "IA3"},
     {"task_type": "SEQ_CLS"}, {"rank_pattern": {"q_proj": 2}}, {"target_modules": ["q_proj"]}, {"target_modules": []},
     {"lora_bias": True}, {"trainable_token_indices": [1]}],
)  # fmt: skip
def test_what_is_no_plain_lora_is_refused(make_adapter: Make, config: dict[str, Any]) -> None:
    with pytest.raises(AdapterInvalid):
        inspect(make_adapter(**config))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass")])
def test_a_broken_config_is_refused(make_adapter: Make, text: str | bytes) -> None:
    folder = make_adapter()
    (folder / "adapter_config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(AdapterInvalid):
        inspect(folder)


@pytest.mark.parametrize(
    "name",
    ["lm_head.weight", "base_model.model.lm_head.weight", "base_model.model.x.lora_embedding_A",
     "base_model.model.x.lora_A.default.weight", "base_model.model.x.lora_magnitude_vector", "model.x.lora_A.weight"],
)  # fmt: skip
def test_a_tensor_of_another_name_is_refused(make_adapter: Make, tensors: Tensors, name: str) -> None:
    with pytest.raises(AdapterInvalid, match="lora_A"):
        inspect(make_adapter({**tensors, name: np.ones((4, 16), np.float32)}))


def test_half_a_pair_is_refused(make_adapter: Make, tensors: Tensors) -> None:
    del tensors[next(name for name in tensors if "lora_B" in name)]
    with pytest.raises(AdapterInvalid, match="only"):
        inspect(make_adapter())


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(make_adapter: Make, missing: str) -> None:
    folder = make_adapter()
    (folder / missing).unlink()
    with pytest.raises(AdapterInvalid) as caught:
        inspect(folder)
    assert caught.value.file == missing


@pytest.mark.parametrize(
    "name", ["../adapter_config.json", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "README.md\0", "run.sh", "x" * 9999]
)
def test_a_path_or_another_name_is_refused(name: str) -> None:
    with pytest.raises(UnexpectedFile):
        check_file_name(name)


def test_links_folders_and_pipes_are_refused(make_adapter: Make, tmp_path: Path) -> None:
    folder = make_adapter()
    readme = folder / "README.md"
    (tmp_path / "secret").write_text("secret")
    for make in (lambda: readme.symlink_to(tmp_path / "secret"), readme.mkdir, lambda: os.mkfifo(readme)):
        make()
        with pytest.raises(UnexpectedFile):
            inspect(folder)
        readme.rmdir() if readme.is_dir() else readme.unlink()
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(UnexpectedFile):
        inspect(link)


def test_oversized_files_are_refused(make_adapter: Make) -> None:
    with pytest.raises(AdapterInvalid, match="over the limit"):
        inspect(make_adapter(), max_bytes=100)
