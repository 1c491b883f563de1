"""What folding relies on inside vLLM 0.32, in one place, and the checks that it is still so.

It must not know how weights are merged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ratchet_plugins.vllm.folding.errors import FoldRefused, FoldUnsupported
from ratchet_plugins.vllm.folding.layer import FoldedLinear
from ratchet_plugins.vllm.folding.weights import Change

__all__ = ["Layout"]


class Layout:
    """The parts of one worker that folding reads or changes."""

    def __init__(self, manager: Any, kernel: Any, model: Any, dtype: torch.dtype) -> None:
        """Made by `Layout.of`."""
        self.manager = manager
        self.kernel = kernel
        self.model = model
        self.dtype = dtype
        self._linears: dict[str, Any] = {}

    @classmethod
    def of(cls, runner: Any, vllm_config: Any) -> Layout:
        """Find the parts.

        Raises:
            FoldUnsupported: They are not where they were, or this engine is not one that folds.
        """
        from vllm.platforms import current_platform

        from ratchet_plugins.vllm.punica import SegmentedPunicaWrapper

        if not current_platform.is_cpu():
            raise FoldUnsupported("it folds on CPU only; on a GPU vLLM's own LoRA kernels are used")
        if vllm_config.parallel_config.world_size != 1:
            raise FoldUnsupported("its weights are spread over several workers (tensor or pipeline parallelism)")
        try:
            manager = runner.lora_manager._adapter_manager
            kernels = list(manager.punica_wrapper_mapping.values())
            model = manager.model
            found = (manager.modules, manager.lora_index_to_id, manager._last_mapping)
            dtype = runner.dtype
        except AttributeError as error:
            raise FoldUnsupported(f"this version of vLLM has another layout ({error}), or LoRA is off") from error
        assert found
        if len(kernels) != 1 or not isinstance(kernels[0], SegmentedPunicaWrapper):
            raise FoldUnsupported(
                f"its LoRA kernel is {[type(kernel).__qualname__ for kernel in kernels]}, not Ratchet's"
            )
        return cls(manager, kernels[0], model, dtype)

    def linears(self) -> dict[str, Any]:
        """Return the linear layers under the LoRA wrappers, by name."""
        from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA

        if not self._linears:
            self._linears = {
                name: wrapper.base_layer
                for name, wrapper in self.manager.modules.items()
                if isinstance(wrapper, BaseLinearLayerWithLoRA)
            }
        return self._linears

    def check(self, name: str, layer: Any) -> None:
        """Try whether a layer computes through the callable that folding replaces, and through nothing else.

        Raises:
            FoldUnsupported: It does not.
        """
        from vllm.model_executor.layers.linear import UnquantizedLinearMethod

        if not isinstance(layer.quant_method, UnquantizedLinearMethod):
            raise FoldUnsupported(f"{name} is quantised ({type(layer.quant_method).__name__})")
        plain = vars(layer).get("cpu_linear")
        if not callable(plain):
            raise FoldUnsupported(f"{name} has no cpu_linear: this version of vLLM computes linear layers otherwise")
        mark = torch.zeros(1, 1)
        layer.cpu_linear = lambda x, weight, bias: mark
        try:
            answer = layer.quant_method.apply(layer, torch.zeros(1, self.shape(name)[1], dtype=self.dtype), None)
        finally:
            layer.cpu_linear = plain
        if answer is not mark:
            raise FoldUnsupported(f"{name} does not compute through cpu_linear in this version of vLLM")

    def shape(self, name: str) -> tuple[int, int]:
        """Return the (out, in) shape of a module's weight."""
        layer = self.linears()[name]
        return int(layer.output_size_per_partition), int(layer.input_size_per_partition)

    def live(self, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what a module computes under its original weights, without bias."""
        layer = self.linears()[name]
        plain = layer.cpu_linear.plain if isinstance(layer.cpu_linear, FoldedLinear) else layer.cpu_linear
        return lambda rows: plain(rows, layer.weight, None)

    def changes(self, adapter_id: int) -> dict[str, list[Change]]:
        """Return copies of what a loaded adapter adds to each module it touches, as the LoRA kernel serves it.

        Raises:
            FoldRefused: It is not loaded, touches nothing, or touches what cannot be folded.
        """
        if self.manager.get_adapter(adapter_id) is None:
            raise FoldRefused(f"adapter {adapter_id} is not loaded")
        self.manager.activate_adapter(adapter_id)
        slot = self.manager.lora_index_to_id.index(adapter_id)
        linears, found = self.linears(), {}
        for name, wrapper in self.manager.modules.items():
            stacked = getattr(wrapper, "lora_b_stacked", ())
            ups = [tensor[slot] for tensor in (stacked if isinstance(stacked, tuple) else (stacked,))]
            if not any(bool(up.any()) for up in ups):
                continue
            if name not in linears:
                raise FoldRefused(f"it changes {name}, which is no linear layer")
            self.check(name, linears[name])
            found[name] = _slices(wrapper, slot)
        if not found:
            raise FoldRefused("it changes no module")
        return found

    def refresh(self) -> None:
        """Have vLLM tell the kernel anew which rows are whose at the next step."""
        self.manager._last_mapping = None


def _slices(wrapper: Any, slot: int) -> list[Change]:
    changes, offset = [], 0
    for down, up in zip(wrapper.lora_a_stacked, wrapper.lora_b_stacked, strict=True):
        width = up.shape[2]
        if bool(up[slot].any()):
            # Slots are as wide as the largest rank allowed; the rest of this adapter's is zeros.
            rank = int(up[slot, 0].any(0).nonzero().max()) + 1
            changes.append(Change(down[slot, 0, :rank].clone(), up[slot, 0, :, :rank].clone(), offset))
        offset += width
    return changes
