"""Channel options that both clients share."""

from __future__ import annotations

import json

MAX_MESSAGE_BYTES = 16 * 1024 * 1024

# Only UNAVAILABLE is retried by the channel itself, and only before a byte of the answer has come.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": f"ratchet.v1.{s}"} for s in ("InferenceService", "LearningService", "EngineService")],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "3s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),
)
