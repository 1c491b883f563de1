"""What a server may ask the worker of a running engine: what only the worker knows, and to fold an adapter.

Loaded with vLLM's `worker_extension_cls`; until it is asked to fold, it must not change how the worker behaves.
"""

from __future__ import annotations

from typing import Any

from ratchet_plugins.vllm.folding.worker import FoldingWorker

__all__ = ["WorkerExtension"]


class WorkerExtension(FoldingWorker):
    """Mixed into vLLM's worker; called with `collective_rpc(name)`."""

    model_runner: Any

    def ratchet_lora_kernel(self) -> str:
        """Return the qualified class name of the LoRA kernel in use ("" when LoRA is off)."""
        manager = getattr(self.model_runner, "lora_manager", None)
        if manager is None:
            return ""
        kernels = manager._adapter_manager.punica_wrapper_mapping.values()
        names = {f"{type(kernel).__module__}.{type(kernel).__qualname__}" for kernel in kernels}
        return ",".join(sorted(names))

    def ratchet_requests(self) -> list[str]:
        """Return the ids of the requests the worker holds state for, as of its last step."""
        return list(self.model_runner.requests)
