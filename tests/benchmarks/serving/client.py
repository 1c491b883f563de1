"""The load generator, in a process of its own: reads one JSON command per line, writes one JSON result per line.

A command: {"kind": "grpc" | "http", "address", "model", "streams", "tokens", "first"}. Prompts are numbered from
`first`, so that no run finds the prefix cache of another.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from ratchet.client import AsyncRatchet, Done


def prompt(number: int) -> str:
    """About twenty tokens, none of them shared from the start."""
    return f"{number}: write a long and detailed story about a lighthouse keeper who counts to {number}."


async def over_grpc(client: AsyncRatchet, number: int, tokens: int) -> tuple[float, int]:
    """(seconds to the first text, tokens) of one answer."""
    began, first, made = time.perf_counter(), 0.0, 0
    stream = client.stream(prompt(number), temperature=0.0, max_tokens=tokens, rail_profile="off")
    async for event in stream:
        if isinstance(event, Done):
            made = event.receipt.tokens.completion
        elif not first:
            first = time.perf_counter() - began
    return first, made


async def over_http(client: Any, model: str, number: int, tokens: int) -> tuple[float, int]:
    """The same over an OpenAI-compatible server's event stream."""
    began, first, made = time.perf_counter(), 0.0, 0
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt(number)}],
        "max_tokens": tokens,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if event.get("usage"):
                made = event["usage"]["completion_tokens"]
            if not first and event["choices"] and event["choices"][0]["delta"].get("content"):
                first = time.perf_counter() - began
    return first, made


async def run(command: dict[str, Any]) -> dict[str, Any]:
    """All streams of a command at once."""
    numbers = range(command["first"], command["first"] + command["streams"])
    cpu = time.process_time()
    if command["kind"] == "grpc":
        async with AsyncRatchet(command["address"]) as client:
            began = time.perf_counter()
            found = await asyncio.gather(*(over_grpc(client, number, command["tokens"]) for number in numbers))
            seconds = time.perf_counter() - began
    else:
        import httpx

        async with httpx.AsyncClient(base_url=command["address"], timeout=300) as web:
            began = time.perf_counter()
            calls = (over_http(web, command["model"], number, command["tokens"]) for number in numbers)
            found = await asyncio.gather(*calls)
            seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "tokens": sum(made for _, made in found),
        "first": [first for first, _ in found],
        "cpu": time.process_time() - cpu,
    }


def main() -> None:
    """Serve commands until the input ends."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(asyncio.run(run(json.loads(line)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
