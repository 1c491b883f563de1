"""The stock CPU platform of vLLM with two hooks changed: which LoRA kernel and which worker it uses.

Apart from `platform.py` because vLLM loads this class only on hosts where it applies.
"""

from __future__ import annotations

from typing import Any

from vllm.platforms.cpu import CpuPlatform

from ratchet_plugins.vllm.platform import PUNICA_WRAPPER

__all__ = ["RatchetCpuPlatform"]

_STOCK_WORKER = "vllm.v1.worker.cpu_worker.CPUWorker"
_OUR_WORKER = "ratchet_plugins.vllm.cpu_worker.RatchetCpuWorker"


class RatchetCpuPlatform(CpuPlatform):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's CPU platform with the segmented LoRA kernel and the worker that survives seeded requests."""

    @classmethod
    def get_punica_wrapper(cls) -> str:
        """Return the qualified name of the LoRA kernel vLLM instantiates in its worker."""
        return PUNICA_WRAPPER

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        """Complete vLLM's configuration; a worker class set by the operator is left as it is."""
        super().check_and_update_config(vllm_config)
        if vllm_config.parallel_config.worker_cls == _STOCK_WORKER:
            vllm_config.parallel_config.worker_cls = _OUR_WORKER
