"""The models of the embedded default: where their files are, how they are prepared once and verified later.

It must not know who serves, trains or scores with them. Importing it loads no model and no heavy library.
"""

from ratchet_plugins.models.chat import DEFAULT_CHAT_MODEL, fingerprint, prepare_chat_model
from ratchet_plugins.models.preparation import prepare_all

__all__ = ["DEFAULT_CHAT_MODEL", "fingerprint", "prepare_all", "prepare_chat_model"]
