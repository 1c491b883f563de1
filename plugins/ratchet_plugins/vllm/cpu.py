"""The stock CPU platform of vLLM with one hook changed: which LoRA kernel it uses.

Apart from `platform.py` because vLLM loads this class only on hosts where it applies.
"""

from __future__ import annotations

from vllm.platforms.cpu import CpuPlatform

from ratchet_plugins.vllm.platform import PUNICA_WRAPPER

__all__ = ["RatchetCpuPlatform"]


class RatchetCpuPlatform(CpuPlatform):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's CPU platform with the segmented LoRA kernel."""

    @classmethod
    def get_punica_wrapper(cls) -> str:
        """Return the qualified name of the LoRA kernel vLLM instantiates in its worker."""
        return PUNICA_WRAPPER
