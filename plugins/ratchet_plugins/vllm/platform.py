"""A CPU platform for vLLM whose LoRA kernel keeps base rows free of adapters, and is fast.

vLLM finds it through the entry-point group `vllm.platform_plugins`. It must not touch a host on which vLLM would run
on anything but its stock CPU platform, and it must not know the server.
"""

from __future__ import annotations

__all__ = ["PUNICA_WRAPPER", "WORKER_EXTENSION", "register"]

PUNICA_WRAPPER = "ratchet_plugins.vllm.punica.SegmentedPunicaWrapper"
WORKER_EXTENSION = "ratchet_plugins.vllm.worker.WorkerExtension"

_STOCK = "vllm.platforms.cpu.CpuPlatform"
_OURS = "ratchet_plugins.vllm.cpu.RatchetCpuPlatform"


def register() -> str | None:
    """Return the platform class for vLLM to load, or None to leave the host alone.

    The answer follows vLLM's own detection, so a GPU host, a GPU build and a CPU platform of another vendor are
    never changed. vLLM swallows exceptions of this function and falls back to its stock platform: whoever depends on
    the corrected kernel must ask the started engine for it (`ratchet_plugins.vllm.worker`).

    Returns:
        The qualified name of `RatchetCpuPlatform`, or None.
    """
    from vllm.platforms import cpu_platform_plugin

    return _OURS if cpu_platform_plugin() == _STOCK else None
