"""vLLM's CPU worker without the fault by which one seeded request ends the engine for everybody.

It must not know the server. Loaded by `RatchetCpuPlatform` unless the operator named a worker class.
"""

from __future__ import annotations

from typing import Any

from vllm.v1.worker.cpu_worker import CPUWorker

__all__ = ["RatchetCpuWorker"]


class RatchetCpuWorker(CPUWorker):  # type: ignore[misc]  # vllm is untyped here
    """The stock worker, with the random generators of unfinished prompts kept out of the sampling step."""

    def sample_tokens(self, grammar_output: Any) -> Any:
        """Sample the next tokens of the step that has just run.

        A prompt that does not fit in one step is prefilled in chunks, and each chunk samples a token that is thrown
        away. vLLM 0.32 then winds the request's own generator back, which CPU generators cannot do ("CPU Generator
        does not use offset"): the core dies. Here such a row draws from the common stream instead, so its own
        generator does not move and the answer to a seed stays the same however the prompt was cut.
        """
        batch = self.model_runner.input_batch
        discarded = self.model_runner.discard_request_mask.np
        unfinished = {row: generator for row, generator in batch.generators.items() if discarded[row]}
        for row in unfinished:
            del batch.generators[row]
        try:
            return super().sample_tokens(grammar_output)
        finally:
            batch.generators.update(unfinished)
