"""The loss terms that Ratchet brings: one per file, each a callable that makes a `LossTerm`."""
