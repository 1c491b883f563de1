"""API keys: who was given one, what it opens and until when. Hashes only: a key itself is kept nowhere.

It must not know what roles mean or how keys travel. No torch.
"""

from ratchet_adapters.access.errors import KeyNotFound, KeyRevoked
from ratchet_adapters.access.keys import KeyStore
from ratchet_adapters.access.records import ApiKey, NewKey, key_id, secret_hash

__all__ = ["ApiKey", "KeyNotFound", "KeyRevoked", "KeyStore", "NewKey", "key_id", "secret_hash"]
