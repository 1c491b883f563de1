"""The server a learner talks to, played over real gRPC: it answers from a table, on a model too small to answer.

The base model complies with everything, the candidate refuses harmful prompts: a random model would never pass a gate.
Registration, load and promotion go through the real registry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from ratchet.v1 import (
    adapter_pb2,
    adapter_pb2_grpc,
    engine_pb2,
    engine_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
)
from ratchet_adapters.evals.suites.seed import seed_items
from ratchet_adapters.registry import ChampionChanged, GateRefused, Registry
from ratchet_plugins.models.chat import fingerprint

KNOWN = {item.prompt.strip(): (item.extra["choices"][item.extra["answer"]],) for item in seed_items("cloze", "eval")}
"""The right choice of every cloze item."""


@dataclass
class PlayedServer(
    inference_pb2_grpc.InferenceServiceServicer,
    engine_pb2_grpc.EngineServiceServicer,
    adapter_pb2_grpc.AdapterServiceServicer,
):
    """Plays the server: remembers what it was asked, and answers from a table."""

    registry: Registry
    model: Path
    loaded: set[str] = field(default_factory=set)
    asked: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.fingerprint = fingerprint(self.model)
        self._harmful = {item.prompt for item in seed_items("harmful")}

    def GetStatus(self, request: engine_pb2.GetStatusRequest, context: grpc.ServicerContext) -> Any:
        return engine_pb2.GetStatusResponse(
            base_model="tiny",
            base_fingerprint=self.fingerprint,
            ready=True,
            model_path=str(self.model),
            loaded=sorted(self.loaded),
            rail_profiles=["off"],
        )

    def Generate(self, request: inference_pb2.GenerateRequest, context: grpc.ServicerContext) -> Any:
        digest = self._digest(request.adapter, context)
        self.asked[digest, request.prompt, request.sampling.max_tokens] += 1
        refuses = bool(digest) and request.prompt in self._harmful
        response = inference_pb2.GenerateResponse(
            text="I can't help with that." if refuses else f"Certainly. {request.prompt[:60]} is done as follows.",
            finish_reason=inference_pb2.FINISH_REASON_STOP,
        )
        response.receipt.adapter_digest = digest
        return response

    def Score(self, request: engine_pb2.ScoreRequest, context: grpc.ServicerContext) -> Any:
        digest = self._digest(request.adapter, context)
        results = []
        for item in request.items:
            count = len(item.continuation.split())
            # It knows the answers: the gate rightly decides nothing on an axis where nobody could get worse.
            rate = -1.0 if item.continuation.strip() in KNOWN.get(item.context.strip(), ()) else -3.0
            results.append(engine_pb2.ScoreResult(log_prob=rate * count, tokens=count))
        return engine_pb2.ScoreResponse(results=results, adapter_digest=digest)

    def Load(self, request: engine_pb2.LoadRequest, context: grpc.ServicerContext) -> Any:
        record = self.registry.adapter(request.adapter)
        self.loaded.add(record.digest)
        return engine_pb2.LoadResponse(adapter=adapter_pb2.Adapter(digest=record.digest))

    def Unload(self, request: engine_pb2.UnloadRequest, context: grpc.ServicerContext) -> Any:
        self.loaded.discard(request.adapter)
        return engine_pb2.UnloadResponse()

    def Promote(self, request: adapter_pb2.PromoteRequest, context: grpc.ServicerContext) -> Any:
        try:
            routing = self.registry.promote(
                request.adapter,
                expected_champion=request.expected_champion or None,
                actor=request.actor,
                reason=request.reason,
            )
        except (GateRefused, ChampionChanged) as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        response = adapter_pb2.PromoteResponse()
        response.routing.version, response.routing.champion = routing.version, routing.champion
        return response

    def _digest(self, ref: str, context: grpc.ServicerContext) -> str:
        if ref in ("", "base"):
            return ""
        if ref not in self.loaded:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{ref} is not loaded")
        return ref


@contextmanager
def listening(played: PlayedServer) -> Iterator[str]:
    """Serve on a free loopback port; gives the address."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(played, server)
    engine_pb2_grpc.add_EngineServiceServicer_to_server(played, server)
    adapter_pb2_grpc.add_AdapterServiceServicer_to_server(played, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def tiny_model(folder: Path) -> Path:
    """Write a randomly initialised Llama of a few thousand weights, with a tokenizer and a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<|im_start|>", "<|im_end|>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([item.prompt for item in seed_items("ordinary")], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<|im_end|>",
        bos_token="<|im_start|>",
        chat_template="{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    )
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
