"""The base model with a LoRA adapter of a recipe's shape, and whether there is memory for it.

It must not know the loss, nor data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ratchet_adapters.training.errors import NotEnoughMemory
from ratchet_adapters.training.recipe import Recipe

__all__ = ["check_memory", "load_model", "load_tokenizer", "unconverted", "with_lora"]

_ADAM_BYTES = 16
"""Per trained parameter: float32 weight, gradient and two moments."""
_ACTIVATIONS_PER_LAYER = 24
"""Saved activations per token and layer, in hidden widths: a low guess for Llama-like layers without recomputation."""


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model folder."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id
    return tokenizer


def load_model(folder: Path, recipe: Recipe, precision: Literal["bf16", "fp32"], *, start: Path | None = None) -> Any:
    """Return the PEFT model: base weights frozen, LoRA on the recipe's modules and layers, or that of a start adapter.

    Args:
        folder: The base model.
        recipe: Shape of the adapter, and what a step needs.
        precision: Of the base weights.
        start: Folder of an adapter of this base model to go on from, in its shape.

    Raises:
        NotEnoughMemory: It would not fit, as far as can be told before anything is computed.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True).get_text_config()
    check_memory(folder, config, recipe, precision)
    base = AutoModelForCausalLM.from_pretrained(
        str(folder),
        dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
        local_files_only=True,
        # Short sequences under a custom mask: plain matrix products beat the CPU's fused attention, backward most.
        attn_implementation="eager",
    )
    if start is not None:
        from peft import PeftModel

        return unconverted(PeftModel.from_pretrained(base, str(start), is_trainable=True, local_files_only=True))
    return with_lora(base, int(config.num_hidden_layers), recipe, "CAUSAL_LM")


def with_lora(model: Any, layers: int, recipe: Recipe, task: Literal["CAUSAL_LM", "SEQ_CLS"]) -> Any:
    """Return the PEFT model of a base model of so many layers; for SEQ_CLS, PEFT trains and saves the head too."""
    from peft import LoraConfig, get_peft_model

    first = int(recipe.first_layer * layers)
    lora = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=list(recipe.target_modules),
        layers_to_transform=list(range(first, max(first + 1, round(recipe.last_layer * layers)))),
        task_type=task,
    )
    return unconverted(get_peft_model(model, lora))


def unconverted(model: Any) -> Any:
    """Return the PEFT model with activations left in the precision they come in.

    Autocast multiplies in bfloat16 anyway; PEFT would copy every activation to float32 before it.
    """
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False
    return model


def check_memory(folder: Path, config: Any, recipe: Recipe, precision: Literal["bf16", "fp32"]) -> None:
    """Refuse a training whose least need exceeds what is free: weights, optimiser, one part's activations and logits.

    An estimate from below: a training that passes can still run out, one that is refused would have.

    Raises:
        NotEnoughMemory: With the two numbers.
    """
    import torch

    width = 2 if precision == "bf16" else 4
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    hidden, layers = int(config.hidden_size), int(config.num_hidden_layers)
    trained = len(recipe.target_modules) * layers * recipe.rank * 2 * hidden * _ADAM_BYTES
    tokens = recipe.batch_size // recipe.accumulate * 64
    activations = tokens * hidden * layers * _ACTIVATIONS_PER_LAYER * width
    needed = weights + trained + activations
    if torch.cuda.is_available():
        available = int(torch.cuda.mem_get_info()[0])
    else:
        import psutil

        available = int(psutil.virtual_memory().available)
    if needed > available:
        raise NotEnoughMemory(needed, available)
