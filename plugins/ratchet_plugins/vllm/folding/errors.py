"""Why an adapter is not folded. It is served as a LoRA all the same."""

from __future__ import annotations

__all__ = ["FoldRefused", "FoldUnsupported"]


class FoldRefused(Exception):
    """One adapter cannot be folded, or what was built failed its check; nothing was changed."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the adapter was not folded: {problem}")


class FoldUnsupported(Exception):
    """This engine cannot fold at all: its platform, its layout or its version of vLLM."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"this engine cannot fold adapters: {problem}")
