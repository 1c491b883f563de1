"""Texts per second of the toxicity classifier: one `Detoxify.predict` per text, our batches, and ONNX Runtime.

`python tests/benchmarks/batching.py` prints a table; all arms run in turn, several rounds, on the same texts, at 32
calls at once. ONNX Runtime is measured when the package `onnx` is installed, which exporting needs. It asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ratchet_plugins.scorers.toxicity.scorer import ToxicityScorer
from ratchet_server.rails.scoring import BatchedScorer

CALLS = 32
LENGTHS = {"short": 1, "mixed": 0, "long": 12}
SENTENCES = ("How do I keep tomatoes from rotting?", "Water them evenly, and mulch the soil.", "Pick them when red.")

Arm = Callable[[Sequence[str]], Awaitable[list[float]]]


def texts(kind: str, count: int, salt: int) -> list[str]:
    """Distinct texts, so that nothing can be remembered."""
    sizes = [LENGTHS[kind] or 1 + (n * 7) % 12 for n in range(count)]
    return [f"{salt}.{n} " + " ".join(SENTENCES[i % 3] for i in range(size)) for n, size in enumerate(sizes)]


class Onnx:
    """The same network on ONNX Runtime, behind the same batching."""

    name, version, threshold, primary, labels = "onnx", "none", 0.5, "toxicity", ("toxicity",)

    def __init__(self, model: Any) -> None:
        import onnxruntime
        import torch

        class Logits(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = model.model

            def forward(self, ids: Any, mask: Any) -> Any:
                return torch.sigmoid(self.inner(input_ids=ids, attention_mask=mask)[0])

        file = Path(tempfile.mkdtemp()) / "toxicity.onnx"
        sample = model.tokenizer(["a b", "c"], return_tensors="pt", padding=True)
        free = {name: {0: "n", 1: "t"} for name in ("ids", "mask")}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Logits().eval(), (sample["input_ids"], sample["attention_mask"]), str(file),
                input_names=["ids", "mask"], output_names=["out"], dynamic_axes=free, dynamo=False, opset_version=17,
            )  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._tokenizer = model.tokenizer
        self._row = model.class_names.index("toxicity" if "toxicity" in model.class_names else "toxic")

    def score(self, batch: Sequence[str]) -> list[dict[str, float]]:
        rows: list[dict[str, float]] = [{} for _ in batch]
        order = sorted(range(len(batch)), key=lambda i: len(batch[i]))
        made = self._tokenizer([batch[i] for i in order], return_tensors="np", padding=True)
        (out,) = self._session.run(None, {"ids": made["input_ids"], "mask": made["attention_mask"]})
        for line, index in enumerate(order):
            rows[index] = {"toxicity": float(out[line, self._row])}
        return rows


def batched(scorer: Any) -> Arm:
    pool = BatchedScorer(scorer, remembered=1)

    async def run(batch: Sequence[str]) -> list[float]:
        places = asyncio.Semaphore(CALLS)

        async def one(text: str) -> float:
            async with places:
                return (await pool.score([text]))[0]["toxicity"]

        return await asyncio.gather(*map(one, batch))

    return run


def one_by_one(model: Any, threads: int) -> Arm:
    executor = ThreadPoolExecutor(threads)

    def predict(text: str) -> float:
        return float(model.predict(text)["toxicity"])

    async def run(batch: Sequence[str]) -> list[float]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, predict, text) for text in batch))

    return run


async def measure(count: int, rounds: int) -> dict[str, Any]:
    scorer = ToxicityScorer()
    scorer.score(["warm-up"])
    model = scorer._detoxify()
    arms = {
        "predict per text, 32 threads": one_by_one(model, CALLS),
        "predict per text, one thread": one_by_one(model, 1),
        "batched, torch": batched(scorer),
    }
    if importlib.util.find_spec("onnx") is not None:
        arms["batched, ONNX Runtime"] = batched(Onnx(model))
    table: dict[str, Any] = {}
    for kind in LENGTHS:
        speeds: dict[str, list[float]] = {name: [] for name in arms}
        costs: dict[str, list[float]] = {name: [] for name in arms}
        apart = 0.0
        for number in range(rounds):
            batch, seen = texts(kind, count, number), {}
            for name, arm in arms.items():
                begin, spent = time.perf_counter(), time.process_time()
                seen[name] = await arm(batch)
                costs[name].append((time.process_time() - spent) * 1e3 / count)
                speeds[name].append(count / (time.perf_counter() - begin))
            first = seen["predict per text, one thread"]
            for name in arms:
                if name.startswith("batched"):
                    apart = max([apart, *(abs(a - b) for a, b in zip(first, seen[name], strict=True))])
        medians = {name: round(statistics.median(values), 1) for name, values in speeds.items()}
        baseline = medians["predict per text, 32 threads"]
        table[kind] = {
            "texts/s": medians,
            # On a busy machine this is the number to trust.
            "CPU ms per text": {name: round(statistics.median(values), 1) for name, values in costs.items()},
            "batched torch / 32 threads": round(medians["batched, torch"] / baseline, 2),
            "largest difference of a score": float(f"{apart:.1e}"),
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    json.dump(asyncio.run(measure(arguments.texts, arguments.rounds)), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
