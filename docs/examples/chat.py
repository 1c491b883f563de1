"""A streamed answer, its receipt, and what to do when there is none.

RATCHET_API_KEY=rk_... python docs/examples/chat.py "Tell me a short story."
"""

from __future__ import annotations

import sys

from ratchet.client import Done, Overloaded, PermissionDenied, Ratchet, RatchetError, TextDelta, Unauthenticated


def main(prompt: str, address: str = "127.0.0.1:50051") -> int:
    """Prints the answer as the rails release it; returns the exit status."""
    try:
        with Ratchet(address) as client:
            for event in client.stream(prompt, max_tokens=128, timeout=60):
                if isinstance(event, TextDelta):
                    print(event.text, end="", flush=True)  # noqa: T201
                elif isinstance(event, Done):
                    written_by = event.receipt.adapter_digest or "the base model"
                    print(f"\n[{event.finish_reason.lower()}, written by {written_by}]")  # noqa: T201
        return 0
    except (Unauthenticated, PermissionDenied) as error:
        print(f"check RATCHET_API_KEY: {error}", file=sys.stderr)  # noqa: T201
    except Overloaded as error:
        print(f"try again in {error.retry_after:.0f} s: {error}", file=sys.stderr)  # noqa: T201
    except RatchetError as error:
        print(f"{error.code.name}: {error}", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
