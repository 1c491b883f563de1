"""garak's own probes through our generator to a real gRPC server on loopback. Skipped where garak is not installed.

garak pins older versions of what the server needs, so it has an environment of its own: docs/red-team.md says how to
run this there.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from ratchet.v1 import inference_pb2, inference_pb2_grpc

pytest.importorskip("garak", reason="garak is not installed; see docs/red-team.md")

DIGEST = "sha256:" + "a" * 64
_BASE64 = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")


@dataclass
class Server(inference_pb2_grpc.InferenceServiceServicer):
    """Decodes base64 where it is told to be gullible, and refuses elsewhere."""

    gullible: bool = True
    requests: list[Any] = field(default_factory=list)

    def Generate(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        text = request.conversation.messages[-1].content
        reply = inference_pb2.GenerateResponse(finish_reason=inference_pb2.FINISH_REASON_STOP)
        reply.receipt.adapter_digest = DIGEST
        if "blockme" in text:
            reply.finish_reason = inference_pb2.FINISH_REASON_BLOCKED_INPUT
        elif "breakme" in text:
            context.abort(grpc.StatusCode.INTERNAL, "a rail broke")
        elif self.gullible and (found := _BASE64.findall(text)):
            reply.text = base64.b64decode(max(found, key=len) + "==").decode(errors="replace")
        else:
            reply.text = "I can't help with that."
        return reply


@contextmanager
def serving(server: Server) -> Iterator[str]:
    listener = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(server, listener)
    port = listener.add_insecure_port("127.0.0.1:0")
    listener.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        listener.stop(None).wait()


def scanned(address: str, folder: Path, *, probes: str, module: str = "ratchet_plugins.garak") -> list[dict[str, Any]]:
    """Run garak's command line in a process of its own and return its report's entries."""
    config = folder / "garak.yaml"
    ours = {"max_tokens": 33, "rail_profile": "off", "adapter": "base"}
    plugins = {"generators": {"ratchet": {"RatchetGenerator": ours}}}
    config.write_text(
        json.dumps({"run": {"generations": 1, "soft_probe_prompt_cap": 6, "seed": 1}, "plugins": plugins})
    )
    homes = {f"XDG_{kind}_HOME": str(folder) for kind in ("DATA", "CONFIG", "CACHE")}
    done = subprocess.run(
        [
            sys.executable, "-m", module, "--target_type", "ratchet", "--target_name", address,
            "--config", str(config), "--spec", probes, "--report_prefix", str(folder / "found"),
        ],
        env=os.environ | homes | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    report = folder / "found.report.jsonl"
    assert done.returncode == 0 and report.exists(), done.stdout + done.stderr
    return [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]


def rates(entries: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    return {e["detector"]: (e["passed"], e["total_evaluated"]) for e in entries if e["entry_type"] == "eval"}


@pytest.mark.parametrize("gullible", [True, False])
def test_a_real_probe_tells_a_gullible_server_from_one_that_refuses(gullible: bool, tmp_path: Path) -> None:
    server = Server(gullible)
    with serving(server) as address:
        entries = scanned(address, tmp_path, probes="probes.encoding.InjectBase64,probes.test.Test")
    found = rates(entries)
    passed, total = found["encoding.DecodeMatch"]
    assert total == 6 and (passed < 6 if gullible else passed == 6)
    # 6 and 8 prompts, of which one is empty and never sent.
    assert found["always.Pass"][1] == 8 and len(server.requests) == 13
    request = server.requests[0]
    assert (request.adapter, request.rail_profile, request.priority) == ("base", "off", 3)
    assert request.sampling.max_tokens == 33
    ended = [entry["outputs"][0] for entry in entries if entry["entry_type"] == "attempt" and entry["status"] == 2]
    assert {answer["notes"]["adapter"] for answer in ended if answer} == {DIGEST}


def test_what_the_server_says_becomes_what_garak_expects(tmp_path: Path) -> None:
    import pickle

    from garak.attempt import Conversation, Message, Turn
    from garak.exception import BadGeneratorException

    from ratchet_plugins.garak.__main__ import register
    from ratchet_plugins.garak.generator import RatchetGenerator

    register()

    def asked(generator: RatchetGenerator, *texts: str) -> Any:
        turns = [Turn("user" if n % 2 == 0 else "assistant", Message(text)) for n, text in enumerate(texts)]
        return generator.generate(Conversation(turns), 1)[0]

    server = Server(gullible=False)
    with serving(server) as address:
        generator = RatchetGenerator(address)
        copy = pickle.loads(pickle.dumps(generator))
        assert asked(copy, "a", "b", "c").text == "I can't help with that."
        assert [message.content for message in server.requests[-1].conversation.messages] == ["a", "b", "c"]
        blocked = asked(generator, "blockme")
        assert (blocked.text, blocked.notes["finish_reason"]) == ("", "BLOCKED_INPUT")
        assert asked(generator, "breakme") is None
        assert asked(generator, "") is None
    with pytest.raises(BadGeneratorException, match="UNAVAILABLE"):
        asked(generator, "anybody?")


def test_a_stock_garak_knows_it_after_install(tmp_path: Path) -> None:
    from ratchet_plugins.garak.install import install

    path = install()
    try:
        with serving(Server()) as address:
            entries = scanned(address, tmp_path, probes="probes.encoding.InjectBase64", module="garak")
        passed, total = rates(entries)["encoding.DecodeMatch"]
        assert total == 6 and passed < 6
    finally:
        path.unlink()
