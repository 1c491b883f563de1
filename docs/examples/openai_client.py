"""An application that was written for OpenAI: only the base URL and the key are Ratchet's.

python docs/examples/openai_client.py http://127.0.0.1:8000/v1 rk_...
"""

from __future__ import annotations

import sys

import openai


def main(base_url: str, api_key: str = "unused") -> None:
    """Prints one streamed answer and the digest of the adapter that wrote it."""
    with openai.OpenAI(base_url=base_url, api_key=api_key) as client:
        messages = [{"role": "user", "content": "Summarise the water cycle in two sentences."}]
        stream = client.chat.completions.create(model="ratchet", messages=messages, stream=True)  # type: ignore
        for chunk in stream:
            print(chunk.choices[0].delta.content or "", end="", flush=True)  # noqa: T201
            if receipt := (chunk.model_extra or {}).get("ratchet"):
                print("\nadapter:", receipt["receipt"].get("adapter_digest", "base"))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
