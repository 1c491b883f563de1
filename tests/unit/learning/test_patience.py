"""When a failed step is tried again."""

import threading
import time

import pytest

from ratchet_adapters.learning.errors import (
    CandidateRefused,
    LearnerStopping,
    ServerUnavailable,
    StepFailed,
    StoreUnavailable,
)
from ratchet_adapters.learning.patience import Patience

AWAY = ServerUnavailable("127.0.0.1:1", "connection refused")


def patience(attempts: int = 3, backoff_s: float = 0.0, stopping: threading.Event | None = None) -> Patience:
    return Patience(stopping or threading.Event(), attempts=attempts, backoff_s=backoff_s, backoff_max_s=0.02)


def test_an_unavailable_server_is_tried_as_often_as_allowed_and_then_given_up() -> None:
    tried = patience(attempts=3)
    assert [tried(AWAY), tried(AWAY), tried(AWAY)] == [True, True, False]


def test_a_busy_database_is_tried_again() -> None:
    assert patience()(StoreUnavailable("The database is locked."))


@pytest.mark.parametrize(
    "final", [StepFailed("train", "ValueError", "bad"), CandidateRefused("sha256:0", "no effect"), ValueError("x")]
)
def test_what_would_fail_again_is_not_tried_again(final: Exception) -> None:
    assert patience()(final) is False


def test_the_pause_between_attempts_has_an_upper_bound() -> None:
    tried = patience(attempts=5, backoff_s=0.01)
    began = time.monotonic()
    assert all(tried(AWAY) for _ in range(4))
    assert 0.05 < time.monotonic() - began < 0.5


def test_a_shutdown_interrupts_the_pause() -> None:
    stopping = threading.Event()
    tried = Patience(stopping, attempts=3, backoff_s=30, backoff_max_s=30)
    threading.Timer(0.05, stopping.set).start()
    began = time.monotonic()
    with pytest.raises(LearnerStopping):
        tried(AWAY)
    assert time.monotonic() - began < 5
