"""Ratchet: the wire contract and the thin client. Knows nothing of torch, vLLM or the server."""
