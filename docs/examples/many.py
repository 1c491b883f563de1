"""Many prompts at once with asyncio: the client waits when the server asks it to.

python docs/examples/many.py prompts.txt
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ratchet.client import AsyncRatchet, RatchetError


async def main(prompts: list[str], address: str = "127.0.0.1:50051") -> int:
    """Prints every answer, in order; returns how many failed."""
    async with AsyncRatchet(address) as client:
        # Behind people who wait: see `priority` in the contract.
        asked = [client.generate(prompt, priority="batch", max_tokens=64, timeout=300) for prompt in prompts]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    for prompt, answer in zip(prompts, answers, strict=True):
        if isinstance(answer, RatchetError):
            print(f"{prompt}\n  failed: {answer}")  # noqa: T201
        elif isinstance(answer, BaseException):
            raise answer
        else:
            print(f"{prompt}\n  {'(blocked)' if answer.blocked else answer.text}")  # noqa: T201
    return sum(isinstance(answer, RatchetError) for answer in answers)


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    sys.exit(asyncio.run(main([line for line in lines if line.strip()], *sys.argv[2:])))
