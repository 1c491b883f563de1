"""A Hugging Face causal model on this machine, with or without a PEFT adapter, as every port of measurement.

It must not know what is measured. Texts are encoded as the server's Score call encodes them: context and continuation
apart, spaces between them belonging to the continuation, the beginning-of-text token (else the end-of-text one) before
a text without context. Prompts are plain text: no chat template.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ratchet_adapters.evals.measure_errors import ModelRefused
from ratchet_adapters.evals.target import LogProb

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

__all__ = ["LocalModel"]

_SAMPLED = 8
"""By how many times more tokens a batch may hold while sampling, where only the last position has logits."""


class LocalModel:
    """`LogProbs`, `NextTokens`, `Sampler` and `Embedder` over a model in memory.

    Args:
        model: A transformers causal model, or a PEFT model around one, e.g. one in training. It is put into eval mode
            for each call and back afterwards.
        tokenizer: Its tokenizer.
        batch_tokens: Most tokens of a batch, padding included; bounds memory (logits are tokens x vocabulary).
    """

    def __init__(self, model: Any, tokenizer: Any, *, batch_tokens: int = 1024) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._batch_tokens = batch_tokens

    @classmethod
    def load(
        cls,
        folder: Path | str,
        adapter: Path | str | None = None,
        *,
        device: str = "cpu",
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        batch_tokens: int = 1024,
    ) -> LocalModel:
        """Load a model folder and optionally a PEFT adapter folder; nothing is downloaded.

        Args:
            folder: Holds config, safetensors weights and tokenizer.
            adapter: Holds adapter_config.json and its weights.
            device: Where torch computes.
            precision: "auto" is bfloat16 where the machine is fast at it, float32 elsewhere. Figures of two
                precisions differ a little: compare only equal ones.
            batch_tokens: See the class.

        Raises:
            ModelRefused: Either cannot be loaded.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from ratchet_adapters.precision import resolve_precision

        dtype = torch.bfloat16 if resolve_precision(precision) == "bf16" else torch.float32
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
        # transformers raises many unrelated types; all mean the same here.
        except Exception as error:
            raise ModelRefused(folder, f"it does not load ({type(error).__name__}: {error})") from error
        if adapter is not None:
            from peft import PeftModel

            try:
                model = PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
            except Exception as error:
                raise ModelRefused(adapter, f"the adapter does not load ({type(error).__name__}: {error})") from error
        return cls(model.to(device).eval(), tokenizer, batch_tokens=batch_tokens)

    def log_probs(self, items: Sequence[tuple[str, str]]) -> list[LogProb]:
        """Return the log-probability of each continuation; see `LogProbs`.

        Raises:
            ModelRefused: A continuation has no tokens, or a log-probability is no number.
        """
        import torch

        split = [self._split(context, continuation) for context, continuation in items]
        found: list[LogProb] = [LogProb(0.0, 0)] * len(items)
        for batch in self._batches([before + after for before, after in split]):
            rows = [split[index] for index in batch]
            # The logits at a token are about the next one, hence one position more than the continuation has.
            keep = max(len(after) for _, after in rows) + 1
            with torch.inference_mode(), _Evaluating(self._model):
                logits = self._forward([before + after for before, after in rows], keep).logits
                for row, (index, (_, after)) in enumerate(zip(batch, rows, strict=True)):
                    table = logits[row, -len(after) - 1 : -1].float().log_softmax(-1)
                    wanted = torch.tensor(after, device=table.device).unsqueeze(1)
                    found[index] = LogProb(float(table.gather(1, wanted).double().sum()), len(after))
        self._finite(entry.log_prob for entry in found)
        return found

    def next_log_probs(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the next-token distribution after each prompt; see `NextTokens`."""
        import numpy as np
        import torch

        encoded = [self._opened(prompt) for prompt in prompts]
        rows: list[Any] = [None] * len(prompts)
        for batch in self._batches(encoded):
            with torch.inference_mode(), _Evaluating(self._model):
                logits = self._forward([encoded[index] for index in batch], 1).logits
                for row, index in enumerate(batch):
                    rows[index] = logits[row, -1].float().log_softmax(-1).cpu().numpy()
        self._finite(float(row.max()) for row in rows)
        return np.stack(rows)

    def sample(
        self, prompts: Sequence[str], *, k: int, max_tokens: int, temperature: float, top_p: float, seed: int
    ) -> list[list[str]]:
        """Return k continuations of each prompt; see `Sampler`.

        Equal seeds give equal texts for equal prompts in equal order, on one machine and precision.
        """
        import torch
        from transformers import GenerationConfig

        encoded = [self._opened(prompt) for prompt in prompts]
        found: list[list[str]] = [[] for _ in prompts]
        config = GenerationConfig(
            do_sample=True, temperature=temperature, top_p=top_p, top_k=0, max_new_tokens=max_tokens,
            num_return_sequences=k, pad_token_id=self._pad(), eos_token_id=self._tokenizer.eos_token_id,
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for batch in self._batches(encoded, copies=k, growth=max_tokens, budget=_SAMPLED * self._batch_tokens):
                ids, mask = self._padded([encoded[index] for index in batch])
                with torch.inference_mode(), _Evaluating(self._model):
                    made = self._model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
                texts = self._tokenizer.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True)
                for place, index in enumerate(batch):
                    found[index] = texts[place * k : (place + 1) * k]
        return found

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the mean of the last hidden states over each text's own tokens; see `Embedder`.

        The token before the text is left out: causal models park attention on it, and its state dwarfs the others.
        """
        import numpy as np
        import torch

        encoded = [[self._first(), *self._encode(text)] for text in texts]
        rows: list[Any] = [None] * len(texts)
        for batch in self._batches(encoded):
            with torch.inference_mode(), _Evaluating(self._model):
                states = self._forward([encoded[index] for index in batch], 1, output_hidden_states=True).hidden_states
                for row, index in enumerate(batch):
                    own = states[-1][row, 1 - len(encoded[index]) :]
                    rows[index] = own.float().mean(0).cpu().numpy()
        self._finite(float(row.sum()) for row in rows)
        return np.stack(rows)

    def _split(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        kept = context.rstrip(" ")
        after = self._encode(context[len(kept) :] + continuation)
        before = self._encode(kept) if kept else []
        return before or [self._first()], after

    def _opened(self, prompt: str) -> list[int]:
        return self._encode(prompt) if prompt else [self._first()]

    def _encode(self, text: str) -> list[int]:
        ids = [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False)]
        if not ids:
            raise ModelRefused(self._name(), "a text to measure is empty; give it at least one character")
        return ids

    def _first(self) -> int:
        for token in (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise ModelRefused(self._name(), "it has neither a beginning-of-text nor an end-of-text token")

    def _pad(self) -> int:
        pad = self._tokenizer.pad_token_id
        return self._first() if pad is None else int(pad)

    def _name(self) -> str:
        return str(getattr(self._model.config, "_name_or_path", "") or type(self._model).__name__)

    def _batches(
        self, encoded: Sequence[Sequence[int]], *, copies: int = 1, growth: int = 0, budget: int = 0
    ) -> Iterator[list[int]]:
        # Near lengths together, so that little is padding; a stable order keeps sampling reproducible.
        batch: list[int] = []
        most = budget or self._batch_tokens
        for index in sorted(range(len(encoded)), key=lambda index: len(encoded[index])):
            if batch and (len(batch) + 1) * copies * (len(encoded[index]) + growth) > most:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _forward(self, rows: Sequence[Sequence[int]], keep: int, **options: Any) -> Any:
        # Padded at the left, so that what is asked about is at the end of every row and no other logits are computed.
        ids, mask = self._padded(rows)
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        return self._model(
            input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False, logits_to_keep=keep, **options
        )

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        width = max(map(len, rows))
        ids = [[self._pad()] * (width - len(row)) + [*row] for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        device = self._model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _finite(self, numbers: Iterator[float]) -> None:
        if not all(math.isfinite(number) for number in numbers):
            raise ModelRefused(self._name(), "it gave a number that is not finite; its weights are damaged")


class _Evaluating:
    """Dropout off within the block."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._training = bool(model.training)

    def __enter__(self) -> None:
        self._model.eval()

    def __exit__(self, *_: object) -> None:
        self._model.train(self._training)
