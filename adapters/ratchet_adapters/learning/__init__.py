"""Learning: durable runs from reviewed flags to a candidate with a gate report, and to its promotion when asked for.

It must not know who asks for a run nor what serves the answers. Importing this loads neither torch nor DBOS.
"""

from ratchet_adapters.learning.errors import (
    BaseModelUnusable,
    CandidateRefused,
    LearnerAlreadyRunning,
    LearningError,
    NothingToLearn,
    PromotionRefused,
    RunCancelled,
    RunOptionsInvalid,
    ServerUnavailable,
    StepFailed,
    StoreUnavailable,
    UnknownMethod,
)
from ratchet_adapters.learning.learner import Learner
from ratchet_adapters.learning.options import DEFAULT_METHOD, check_options
from ratchet_adapters.learning.settings import LearnerSettings
from ratchet_adapters.learning.trail import STEPS

__all__ = [
    "DEFAULT_METHOD",
    "STEPS",
    "BaseModelUnusable",
    "CandidateRefused",
    "Learner",
    "LearnerAlreadyRunning",
    "LearnerSettings",
    "LearningError",
    "NothingToLearn",
    "PromotionRefused",
    "RunCancelled",
    "RunOptionsInvalid",
    "ServerUnavailable",
    "StepFailed",
    "StoreUnavailable",
    "UnknownMethod",
    "check_options",
]
