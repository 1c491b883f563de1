"""What an adapter costs: tokens per second with an adapter and without, vLLM's stock CPU kernel beside ours.

    python tests/benchmarks/lora_overhead.py [--threads 2] [--tokens 32]

Prints tok/s at 1, 8 and 32 concurrent streams and the ratio adapter / base. Wall-clock: run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from ratchet_plugins.models.chat import prepare_chat_model
from ratchet_server.engine.core import Core
from ratchet_server.engine.engine import EngineRequest, Message, Sampling
from ratchet_server.engine.settings import EngineSettings
from ratchet_server.engine.vllm import VllmEngine

DIGEST = "sha256:" + "1" * 64
LEVELS = (1, 8, 32)
LINEARS = {
    "self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}


def write_adapter(model: Path, folder: Path, rank: int, *, seed: int = 0) -> None:
    """Write a random adapter on all linear modules, with the shapes of the base model."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    random = torch.Generator().manual_seed(seed)
    tensors = {}
    with safe_open(next(model.glob("*.safetensors")), "pt") as weights:
        for key in weights.keys():  # noqa: SIM118  # not a dict
            owner, _, leaf = key.removesuffix(".weight").rpartition(".")
            if leaf in LINEARS.get(owner.rpartition(".")[2], ()):
                wide, narrow = weights.get_slice(key).get_shape()
                name = f"base_model.model.{owner}.{leaf}"
                tensors[f"{name}.lora_A.weight"] = torch.randn(rank, narrow, generator=random) * 0.02
                tensors[f"{name}.lora_B.weight"] = torch.randn(wide, rank, generator=random) * 0.02
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "bias": "none"}
    config |= {"target_modules": [leaf for leaves in LINEARS.values() for leaf in leaves], "lora_dropout": 0.0}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")


async def rate(engine: VllmEngine, digest: str, streams: int, tokens: int) -> float:
    """Tokens per second of `streams` concurrent greedy answers of `tokens` tokens."""

    async def one(index: int) -> int:
        asked = EngineRequest(
            f"bench-{index}",
            messages=(Message("user", f"Tell me about the number {index} and its history."),),
            sampling=Sampling(max_tokens=tokens, ignore_eos=True),
            digest=digest,
        )
        return sum([chunk.token_ids async for chunk in engine.generate(asked)])

    began = time.perf_counter()
    counts = await asyncio.gather(*(one(index) for index in range(streams)))
    return sum(counts) / (time.perf_counter() - began)


async def measure(settings: EngineSettings, adapter: Path, tokens: int, *, stock: bool) -> dict[str, object]:
    """Start a core with one of the kernels and measure it at every level."""
    kept = os.environ.get("VLLM_PLUGINS")
    if stock:
        os.environ["VLLM_PLUGINS"] = "none"
    try:
        engine = VllmEngine(settings, start_core=functools.partial(Core.start, verify=not stock))
        began = time.perf_counter()
        await engine.start()
        seconds = time.perf_counter() - began
    finally:
        os.environ.pop("VLLM_PLUGINS", None)
        if kept is not None:
            os.environ["VLLM_PLUGINS"] = kept
    try:
        kernel = (await engine.core.ask("ratchet_lora_kernel"))[0].rpartition(".")[2]
        await engine.load(DIGEST, adapter)
        rows = []
        for streams in LEVELS:
            for digest in ("", DIGEST):
                await rate(engine, digest, streams, 4)
            best = {
                digest: max([await rate(engine, digest, streams, tokens) for _ in range(2)]) for digest in ("", DIGEST)
            }
            rows.append((streams, best[""], best[DIGEST]))
        return {"kernel": kernel, "start_seconds": seconds, "rows": rows}
    finally:
        await engine.stop()


def main() -> None:
    """Measure both kernels and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rank", type=int, default=16)
    options = parser.parse_args()
    model = prepare_chat_model()
    settings = EngineSettings(
        model=model, threads=options.threads, kv_cache_bytes=512 << 20, max_lora_rank=options.rank, max_loras=2
    )
    out = sys.stdout
    with tempfile.TemporaryDirectory() as folder:
        write_adapter(model, Path(folder), options.rank)
        out.write(f"{'kernel':24} {'streams':>7} {'base tok/s':>11} {'adapter tok/s':>14} {'ratio':>6}\n")
        for stock in (True, False):
            found = asyncio.run(measure(settings, Path(folder), options.tokens, stock=stock))
            for streams, base, adapted in found["rows"]:  # type: ignore[attr-defined]
                ratio = adapted / base
                out.write(f"{found['kernel']:24} {streams:7} {base:11.1f} {adapted:14.1f} {ratio:6.2f}\n")
            out.write(f"{found['kernel']:24} started in {found['start_seconds']:.1f} s\n")
            out.flush()


if __name__ == "__main__":
    main()
