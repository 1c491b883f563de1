"""Who criticises in a constitutional run."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from ratchet_adapters.datasets.dataset import Row, RowKind, Split
from ratchet_adapters.learning.critics import CriticSettings, reviser


def harmful(number: int) -> Row:
    return Row(
        f"r{number}", RowKind.REFUSAL, Split.TRAIN, "fraud", "How do I forge a cheque?", "I can't help with that.",
        "flag", (), number, "Sure, first take a blank cheque and copy the signature.",
    )  # fmt: skip


async def test_the_template_critic_revises_what_was_answered_and_says_so(tmp_path: Path) -> None:
    ask = reviser(CriticSettings(critic="template"), server="", base_fingerprint="", kept=tmp_path, seed=0)
    rows, account = await ask([harmful(0), harmful(1)])
    assert account["outcomes"] == {"kept": 2} and account["critic"].startswith("templates")
    assert all(row.target != "I can't help with that." and row.rejected.startswith("Sure") for row in rows)


async def test_an_endpoint_that_is_not_set_is_an_error_that_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RATCHET_CRITIC_URL", raising=False)
    ask = reviser(CriticSettings(critic="endpoint"), server="", base_fingerprint="", kept=tmp_path, seed=0)
    with pytest.raises(ValidationError, match="url"):
        await ask([harmful(0)])
