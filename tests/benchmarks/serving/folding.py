"""Base model, champion as a LoRA and champion folded, side by side in a stock vLLM `LLM` with the plug-ins.

    python -m tests.benchmarks.serving.folding [--levels 1,8,32] [--tokens 32] [--rounds 2] [--rank 16]

First shows that folding changes no answer and is undone to the bit, then lets the three take turns at each number of
streams. Tokens per CPU second say what a busy machine hides in tokens per second; ratios are to the base model.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.lora_overhead import write_adapter

from ratchet_plugins.models.chat import prepare_chat_model
from ratchet_plugins.vllm.folding import protocol
from ratchet_plugins.vllm.platform import WORKER_EXTENSION

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SEA = "<|im_start|>user\nTell me about the sea, number {}.<|im_end|>\n<|im_start|>assistant\n"


def start(model: Path, rank: int, dtype: str) -> Any:
    """A stock `LLM`, its worker in this process, so that the CPU time of this process is all of it."""
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_CPU_OMP_THREADS_BIND="nobind",
        VLLM_NO_USAGE_STATS="1",
        VLLM_LOGGING_LEVEL="ERROR",
        TORCHDYNAMO_DISABLE="1",
        OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1"),
    )
    from vllm import LLM

    return LLM(
        model=str(model), dtype=dtype, max_model_len=512, max_num_seqs=32, max_num_batched_tokens=512,
        kv_cache_memory_bytes=256 << 20, enforce_eager=True, enable_lora=True, max_loras=3, max_cpu_loras=6,
        max_lora_rank=rank, lora_target_modules=MODULES, distributed_executor_backend="uni",
        worker_extension_cls=WORKER_EXTENSION, generation_config="vllm", enable_prefix_caching=False, seed=0,
    )  # fmt: skip


class Subject:
    """The engine under measurement, and what it may be asked on."""

    def __init__(self, llm: Any, adapters: Path) -> None:
        from vllm.lora.request import LoRARequest

        self.llm = llm
        self.lora = LoRARequest("champion", 1, str(adapters / "1"))
        self.other = LoRARequest("other", 2, str(adapters / "2"))
        self.folded = LoRARequest("champion-folded", 3, str(adapters / "1"))
        for request in (self.lora, self.other):
            llm.llm_engine.add_lora(request)

    async def ask(self, name: str, *arguments: Any) -> list[Any]:
        """Call the worker; the engine steps here only when it is asked to, so this thread may as well wait."""
        return list(self.llm.collective_rpc(name, args=arguments))

    def answers(self, loras: list[Any], tokens: int) -> list[tuple[list[int], list[float]]]:
        """Greedy token ids and their log-probabilities, all requests in one batch."""
        from vllm.sampling_params import SamplingParams

        params = SamplingParams(max_tokens=tokens, temperature=0.0, ignore_eos=True, logprobs=0)
        prompts = [SEA.format(number) for number in range(len(loras))]
        outputs = self.llm.generate(prompts, params, lora_request=loras, use_tqdm=False)
        return [
            (
                list(output.outputs[0].token_ids),
                [
                    step[token].logprob
                    for step, token in zip(output.outputs[0].logprobs, output.outputs[0].token_ids, strict=True)
                ],
            )
            for output in outputs
        ]

    async def fold(self) -> protocol.Built:
        """Fold the champion."""
        await protocol.self_test(self.ask)
        built = await protocol.build(self.ask, self.lora.lora_int_id)
        self.llm.llm_engine.add_lora(self.folded)
        began = time.perf_counter()
        await protocol.install(self.ask, self.folded.lora_int_id)
        sys.stdout.write(f"swap {(time.perf_counter() - began) * 1e3:.2f} ms\n")
        return built

    def rate(self, lora: Any, streams: int, tokens: int) -> tuple[float, float]:
        """Tokens per second and per CPU second."""
        from vllm.sampling_params import SamplingParams

        params = SamplingParams(max_tokens=tokens, temperature=0.0, ignore_eos=True)
        prompts = [SEA.format(number) for number in range(streams)]
        wall, cpu = time.perf_counter(), time.process_time()
        self.llm.generate(prompts, params, lora_request=[lora] * streams, use_tqdm=False)
        made = streams * tokens
        return made / (time.perf_counter() - wall), made / (time.process_time() - cpu)


def apart(left: list[Any], right: list[Any]) -> tuple[int, float]:
    """How many answers are the same token by token, and the largest distance of their log-probabilities."""
    same = [a for a, b in zip(left, right, strict=True) if a[0] == b[0]]
    pairs = [(a, b) for a, b in zip(left, right, strict=True) if a[0] == b[0]]
    return len(same), max((abs(x - y) for a, b in pairs for x, y in zip(a[1], b[1], strict=True)), default=0.0)


async def correctness(subject: Subject, tokens: int) -> None:
    """Fold and unfold, and compare every answer."""
    out = sys.stdout
    mixed = [None, subject.lora, subject.other] * 2
    before = {"base": subject.answers([None] * 3, tokens), "champion": subject.answers([subject.lora] * 3, tokens)}
    together = subject.answers(mixed, tokens)
    built = await subject.fold()
    out.write(f"folded {built.modules} modules in {built.seconds:.1f} s\n")
    same, worst = apart(before["champion"], subject.answers([subject.folded] * 3, tokens))
    out.write(f"champion as a LoRA and folded: {same}/3 answers equal, log-probabilities within {worst:.1e}\n")
    same, worst = apart(before["base"], subject.answers([None] * 3, tokens))
    out.write(f"base model before and while folded: {same}/3 answers equal, log-probabilities within {worst:.1e}\n")
    same, worst = apart(together, subject.answers([subject.folded if a is subject.lora else a for a in mixed], tokens))
    out.write(f"one batch of base, folded and another adapter: {same}/6 equal, within {worst:.1e}\n")
    began = time.perf_counter()
    await protocol.drop(subject.ask, subject.folded.lora_int_id)
    out.write(f"undone in {(time.perf_counter() - began) * 1e3:.2f} ms\n")
    for name, lora in (("base", None), ("champion", subject.lora)):
        same, worst = apart(before[name], subject.answers([lora] * 3, tokens))
        out.write(f"{name} before and after: {same}/3 answers equal, log-probabilities within {worst:.1e}\n")
    out.flush()


async def speed(subject: Subject, levels: list[int], tokens: int, rounds: int) -> None:
    """Let the three take turns."""
    out = sys.stdout
    built = await protocol.build(subject.ask, subject.lora.lora_int_id)
    await protocol.install(subject.ask, subject.folded.lora_int_id)
    out.write(f"folded again in {built.seconds:.1f} s\n")
    out.write(f"{'way':20} {'streams':>7} {'tok/s':>8} {'tok/CPU s':>10} {'ratio':>6} {'CPU ratio':>10}\n")
    ways = {"base model": None, "champion as a LoRA": subject.lora, "champion folded": subject.folded}
    for level in levels:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for lora in ways.values():
            subject.rate(lora, level, 2)
        for turn in range(rounds):
            for name in [*ways][turn % 3 :] + [*ways][: turn % 3]:
                found[name].append(subject.rate(ways[name], level, tokens))
        for name, seen in found.items():
            wall, cpu = (statistics.median(pair[side] for pair in seen) for side in (0, 1))
            ratios = [
                statistics.median(a[side] / b[side] for a, b in zip(seen, found["base model"], strict=True))
                for side in (0, 1)
            ]
            out.write(f"{name:20} {level:7} {wall:8.1f} {cpu:10.1f} {ratios[0]:6.2f} {ratios[1]:10.2f}\n")
            out.flush()


def main() -> None:
    """Start the engine, compare, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", default="1,8,32")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    model = prepare_chat_model()
    began = time.perf_counter()
    llm = start(model, options.rank, options.dtype)
    sys.stdout.write(f"engine up after {time.perf_counter() - began:.0f} s\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        for seed in (1, 2):
            (Path(folder) / str(seed)).mkdir()
            write_adapter(model, Path(folder) / str(seed), options.rank, seed=seed)
        subject = Subject(llm, Path(folder))
        asyncio.run(correctness(subject, 16))
        asyncio.run(speed(subject, [int(level) for level in options.levels.split(",")], options.tokens, options.rounds))


if __name__ == "__main__":
    main()
