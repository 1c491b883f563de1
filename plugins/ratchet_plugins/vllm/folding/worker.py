"""The worker's side of folding: what the engine may ask for, one short call at a time.

The merged weights are built by a thread of the lowest priority while the engine steps on; every call of the engine's
own thread is short, since it runs between two steps. Nothing serves from a fold before it was checked against the live
weights and put in. It must not know the server.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from ratchet_plugins.vllm.folding.checkpoint import dense_weights
from ratchet_plugins.vllm.folding.errors import FoldRefused, FoldUnsupported
from ratchet_plugins.vllm.folding.layer import FoldedLinear, Merged
from ratchet_plugins.vllm.folding.layout import Layout
from ratchet_plugins.vllm.folding.weights import Change, Probe, merge, pack

__all__ = ["FoldingWorker"]

_LOWEST_PRIORITY = 19
_CHECKED_AT_ONCE = 8


@dataclass(slots=True)
class _Building:
    """One fold on its way."""

    changes: dict[str, list[Change]]
    began: float = field(default_factory=time.monotonic)
    fold: dict[str, Merged] = field(default_factory=dict)
    probes: dict[str, Probe] = field(default_factory=dict)
    problem: str = ""
    done: bool = False
    cancelled: bool = False


class FoldingWorker:
    """Mixed into vLLM's CPU worker; the calls are made in the order of `protocol.py`."""

    model_runner: Any
    vllm_config: Any
    _ratchet_building: _Building | None = None

    def ratchet_fold_self_test(self) -> str:
        """Return why this engine cannot fold, "" when it can. Behaviour is tried, not only names."""
        try:
            layout = Layout.of(self.model_runner, self.vllm_config)
            for name, layer in layout.linears().items():
                layout.check(name, layer)
        except FoldUnsupported as error:
            return error.problem
        return ""

    def ratchet_fold_begin(self, adapter_id: int) -> str:
        """Begin to build the fold of a loaded adapter; return why not, "" when it was begun.

        One that is being built is given up.
        """
        self.ratchet_fold_cancel()
        try:
            layout = Layout.of(self.model_runner, self.vllm_config)
            changes = layout.changes(adapter_id)
            building = _Building(changes)
            shapes = {name: layout.shape(name) for name in changes}
        except (FoldUnsupported, FoldRefused) as error:
            return error.problem
        self._ratchet_building = building
        arguments = (building, layout.model, self.vllm_config, shapes, layout.dtype)
        threading.Thread(target=_build, args=arguments, name="ratchet-fold", daemon=True).start()
        return ""

    def ratchet_fold_progress(self) -> dict[str, Any]:
        """Return {"modules", "built", "seconds", "done", "problem"} of the fold being built."""
        building = self._ratchet_building
        if building is None:
            return {"modules": 0, "built": 0, "seconds": 0.0, "done": True, "problem": "nothing is being built"}
        return {
            "modules": len(building.changes),
            "built": len(building.fold),
            "seconds": time.monotonic() - building.began,
            "done": building.done,
            "problem": building.problem,
        }

    def ratchet_fold_check(self) -> dict[str, Any]:
        """Hold the next modules against the live weights; return {"left", "problem"}.

        Here and not in the building thread, because vLLM's GEMM handles are for one thread only.
        """
        building = self._ratchet_building
        if building is None or not building.done or building.problem:
            return {"left": 0, "problem": "there is no whole fold to check"}
        layout = Layout.of(self.model_runner, self.vllm_config)
        for name in list(building.probes)[:_CHECKED_AT_ONCE]:
            probe = building.probes.pop(name)
            building.problem = building.problem or probe.problem(layout.live(name), building.fold[name])
            if building.problem:
                return {"left": 0, "problem": f"{name}: {building.problem}"}
        return {"left": len(building.probes), "problem": ""}

    def ratchet_fold_install(self, adapter_id: int) -> str:
        """Serve an adapter from the fold that was built and checked, from the next step on; return why not, or "".

        Args:
            adapter_id: An adapter that has the same content as the one the fold was built of.
        """
        building = self._ratchet_building
        if building is None or not building.done or building.problem or building.probes:
            return "there is no checked fold to put in"
        layout = Layout.of(self.model_runner, self.vllm_config)
        for name in building.fold:
            layer = layout.linears()[name]
            if not isinstance(layer.cpu_linear, FoldedLinear):
                layer.cpu_linear = FoldedLinear(name, layer.cpu_linear, layout.kernel)
        layout.kernel.folds[adapter_id] = building.fold
        layout.refresh()
        self._ratchet_building = None
        return ""

    def ratchet_fold_drop(self, adapter_id: int) -> bool:
        """Forget a fold and free its weights; rows of the adapter get the LoRA again. Return whether there was one.

        With the last fold every layer has its own callable back.
        """
        layout = Layout.of(self.model_runner, self.vllm_config)
        dropped = layout.kernel.folds.pop(adapter_id, None) is not None
        if not layout.kernel.folds:
            for layer in layout.linears().values():
                if isinstance(layer.cpu_linear, FoldedLinear):
                    layer.cpu_linear = layer.cpu_linear.plain
        layout.refresh()
        return dropped

    def ratchet_fold_cancel(self) -> None:
        """Give up what is being built, if anything is."""
        building, self._ratchet_building = self._ratchet_building, None
        if building is not None:
            building.cancelled = True

    def ratchet_folds(self) -> list[int]:
        """Return the ids of the adapters served from a fold."""
        return list(Layout.of(self.model_runner, self.vllm_config).kernel.folds)


def _build(
    building: _Building, model: Any, vllm_config: Any, shapes: dict[str, tuple[int, int]], dtype: torch.dtype
) -> None:
    try:
        if hasattr(os, "setpriority"):
            # For Linux a thread is a process of its own here: only this one yields to everybody.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        with torch.inference_mode():
            for name, weight in dense_weights(model, vllm_config, shapes):
                if building.cancelled:
                    return
                merged, building.probes[name] = merge(weight, building.changes[name], dtype)
                building.fold[name] = pack(merged)
    # A thread's exception reaches nobody: it is told to whoever asks for the progress.
    except Exception as error:
        building.problem = error.problem if isinstance(error, FoldRefused) else f"{type(error).__name__}: {error}"
    finally:
        building.done = True
