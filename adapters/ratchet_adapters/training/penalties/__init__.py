"""The penalties that Ratchet brings: one per file, each a callable that makes a `Penalty`."""
