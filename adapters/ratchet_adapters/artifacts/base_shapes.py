"""Does a set of adapted modules fit a base model's shapes? Only for the attention and MLP layers of decoder models.

It must not know how an adapter is stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ratchet_adapters.artifacts.errors import AdapterInvalid, WrongBase

__all__ = ["check_shapes"]

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


def check_shapes(
    config: Mapping[str, Any], modules: Mapping[str, tuple[int, int]], *, expected: str, found: str
) -> None:
    """Compare adapted modules with a base model's `config.json`.

    Args:
        config: Llama-style keys: hidden_size, intermediate_size, num_attention_heads, num_key_value_heads,
            num_hidden_layers, optional head_dim.
        modules: Module path to (inputs, outputs).
        expected: Fingerprint of the base, for the error.
        found: Fingerprint the adapter names, for the error.

    Raises:
        WrongBase: A layer is not in that model, or has other shapes.
        AdapterInvalid: The config lacks the keys this needs.
    """
    shapes = _shapes(config)
    layers = int(config["num_hidden_layers"])
    for module, found_shape in modules.items():
        name = module.rpartition(".")[2]
        layer = _LAYER.search(f"{module}.")
        if name not in shapes or layer is None or int(layer[1]) >= layers:
            raise WrongBase(
                "adapter_model.safetensors", f"the base model has no {module}", expected=expected, found=found
            )
        if shapes[name] != found_shape:
            raise WrongBase(
                "adapter_model.safetensors",
                f"{module} maps {found_shape[0]} to {found_shape[1]}, the base model's {shapes[name][0]} to "
                f"{shapes[name][1]}",
                expected=expected,
                found=found,
            )


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    try:
        hidden, inner = int(config["hidden_size"]), int(config["intermediate_size"])
        heads = int(config["num_attention_heads"])
        head = int(config.get("head_dim") or hidden // heads)
        keys = int(config.get("num_key_value_heads") or heads) * head
        int(config["num_hidden_layers"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise AdapterInvalid("config.json of the base model", f"a shape is missing or wrong ({error})") from error
    return {
        "q_proj": (hidden, heads * head),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (heads * head, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }
