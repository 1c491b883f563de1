"""Settings that cannot work are refused when they are made."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ratchet_server.engine.errors import EngineSettingsInvalid
from ratchet_server.engine.launch import engine_arguments, environment
from ratchet_server.engine.settings import EngineSettings


@pytest.fixture
def model(tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("threads", 0),
        ("max_model_len", 0),
        ("max_loaded", 1),
        ("max_lora_rank", 12),
        ("lora_modules", ()),
        ("patience_seconds", -1.0),
        ("score_tokens_busy", 0),
    ],
)
def test_an_impossible_setting_is_named(model, setting, value):
    with pytest.raises(EngineSettingsInvalid) as caught:
        EngineSettings(model=model, **{setting: value})
    assert caught.value.setting == setting


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(EngineSettingsInvalid):
        EngineSettings(model=tmp_path)


def test_one_core_is_left_for_the_server(model):
    cores = len(os.sched_getaffinity(0))
    assert EngineSettings(model=model).compute_threads == max(1, cores - 1)
    assert EngineSettings(model=model, threads=7).compute_threads == 7


def test_the_environment_of_the_start_is_put_back(monkeypatch):
    monkeypatch.setenv("RATCHET_TEST_KEPT", "before")
    monkeypatch.delenv("RATCHET_TEST_NEW", raising=False)
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    with environment({"RATCHET_TEST_KEPT": "during", "RATCHET_TEST_NEW": "1"}):
        assert os.environ["RATCHET_TEST_KEPT"] == "during"
        os.environ["LD_PRELOAD"] = "written by the platform"
    assert os.environ["RATCHET_TEST_KEPT"] == "before"
    assert "RATCHET_TEST_NEW" not in os.environ
    assert "LD_PRELOAD" not in os.environ


def test_importing_the_engine_imports_no_vllm_and_sets_no_environment():
    code = (
        "import os, sys; before = dict(os.environ); import ratchet_server.engine.vllm, ratchet_plugins.vllm.platform; "
        "assert not {'vllm', 'torch', 'transformers'} & set(sys.modules); assert dict(os.environ) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_larger_than_a_node_is_split_as_set_on_gpus_and_never_on_cpu(model):
    settings = EngineSettings(model=model, tensor_parallel=4, pipeline_parallel=2, executor="ray")
    gpu = engine_arguments(settings, cpu=False)
    assert (gpu.tensor_parallel_size, gpu.pipeline_parallel_size) == (4, 2)
    assert gpu.distributed_executor_backend == "ray"
    assert engine_arguments(settings, cpu=True).distributed_executor_backend == "uni"
    assert engine_arguments(EngineSettings(model=model), cpu=False).distributed_executor_backend is None
