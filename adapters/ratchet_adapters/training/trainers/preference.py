"""The pairs a session's dataset makes, in tokens: what the preference trainers begin with alike.

It must not know any loss.
"""

from __future__ import annotations

from ratchet_adapters.datasets.dataset import Split
from ratchet_adapters.training.errors import NothingToTrain
from ratchet_adapters.training.preference import PreferenceSettings
from ratchet_adapters.training.trainers.pairs import EncodedPair, Pairs, encode_pairs, make_pairs
from ratchet_adapters.training.trainers.ratings import safety_judge
from ratchet_adapters.training.trainers.session import Session

__all__ = ["session_pairs"]


def session_pairs(
    session: Session, settings: PreferenceSettings, *, single: bool = False
) -> tuple[list[EncodedPair], Pairs, list[EncodedPair]]:
    """Return the pairs to train on, with the account of how they were made, and the pairs to watch the loss on.

    Args:
        session: Of the job.
        settings: Its recipe.
        single: Also pairs with one answer only.

    Raises:
        NothingToTrain: No row makes a pair.
    """
    judge = safety_judge(settings.judge)
    made = make_pairs(session.rows(), settings, judge, single=single)
    taught, made = encode_pairs(made, session.tokenizer, settings)
    if not taught:
        raise NothingToTrain(session.job.dataset)
    held_out = make_pairs(session.rows(split=Split.VALIDATION), settings, judge, single=single)
    watched, _ = encode_pairs(held_out, session.tokenizer, settings)
    return taught, made, watched
