"""The attacks shipped with Ratchet, all written for it."""
