"""How the engine runs: sizes, threads and limits, checked when they are made.

It must not know environment variables or files; the server's settings build this.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ratchet_server.engine.errors import EngineSettingsInvalid

__all__ = ["LORA_RANKS", "EngineSettings"]

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values vLLM 0.32 takes for the largest LoRA rank."""

_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of one engine.

    Attributes:
        model: Folder of the base model (safetensors and tokenizer).
        threads: CPU only: compute threads; None is cores - 1, so that one is left for the server.
        max_model_len: Context in tokens, prompt and answer.
        kv_cache_bytes: CPU only: size of the KV cache.
        max_num_seqs: Most requests in one step.
        max_batched_tokens: CPU only: most tokens in one step. It bounds how long a prefill stalls running streams
            (about 1 ms per token for a 135M model on two cores).
        max_loras: Most distinct adapters in one step, which is also the most in flight.
        max_loaded: Most adapters loaded at a time, in flight or not.
        max_lora_rank: Largest rank of an adapter.
        lora_modules: Module suffixes adapters may touch; narrowing them saves the cost of the rest.
        fold: CPU only: the champion may be folded into a second set of weights, so that it costs no more than the base
            model; needs memory for that set.
        dtype: Of weights and activations; "auto" is the checkpoint's, but float32 on a processor that has no
            instructions for bfloat16.
        system_prompt: Put before chats that have none; None leaves it to the model's template.
        patience_seconds: How long a request may wait for an adapter slot before newer requests on the adapters in
            flight have to queue behind it. Each priority level counts as this much later arrival.
        score_tokens_idle: Most prompt tokens being scored at once while nobody else is served.
        score_tokens_busy: The same while interactive requests run.
        preload_openmp: CPU only: preload Intel's OpenMP runtime in the core when its wheel is installed.
        seed: Of the engine's sampling stream.
        log_level: Of vLLM's own log.
    """

    model: Path
    threads: int | None = None
    max_model_len: int = 2048
    kv_cache_bytes: int = 1 << 30
    max_num_seqs: int = 64
    max_batched_tokens: int = 512
    max_loras: int = 4
    max_loaded: int = 8
    max_lora_rank: int = 32
    lora_modules: tuple[str, ...] = _LINEARS
    fold: bool = False
    dtype: str = "auto"
    system_prompt: str | None = None
    patience_seconds: float = 1.0
    score_tokens_idle: int = 512
    score_tokens_busy: int = 128
    preload_openmp: bool = True
    seed: int = 0
    log_level: str = "ERROR"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            EngineSettingsInvalid: One of them cannot work.
        """
        if not (self.model / "config.json").is_file():
            raise EngineSettingsInvalid("model", f"{self.model} has no config.json; name a prepared model folder")
        for name in (
            "max_model_len",
            "kv_cache_bytes",
            "max_num_seqs",
            "max_batched_tokens",
            "max_loras",
            "score_tokens_idle",
            "score_tokens_busy",
        ):
            if getattr(self, name) < 1:
                raise EngineSettingsInvalid(name, f"must be at least 1, is {getattr(self, name)}")
        if self.threads is not None and self.threads < 1:
            raise EngineSettingsInvalid("threads", f"must be at least 1, is {self.threads}")
        if self.max_loaded < self.max_loras:
            raise EngineSettingsInvalid(
                "max_loaded", f"must be at least max_loras ({self.max_loras}), is {self.max_loaded}"
            )
        if self.max_lora_rank not in LORA_RANKS:
            raise EngineSettingsInvalid("max_lora_rank", f"must be one of {LORA_RANKS}, is {self.max_lora_rank}")
        if not self.lora_modules:
            raise EngineSettingsInvalid("lora_modules", "must name at least one module")
        if self.patience_seconds < 0:
            raise EngineSettingsInvalid("patience_seconds", f"must not be negative, is {self.patience_seconds}")

    @property
    def max_held(self) -> int:
        """Most adapters the core holds: a folded one is there twice, as itself and folded."""
        return self.max_loaded + int(self.fold)

    @property
    def compute_threads(self) -> int:
        """Compute threads of the core: as set, or all usable cores but one."""
        if self.threads is not None:
            return self.threads
        # Two OpenMP threads on two shared cores collapse under any neighbour, so one core stays free.
        return max(1, len(os.sched_getaffinity(0)) - 1)
