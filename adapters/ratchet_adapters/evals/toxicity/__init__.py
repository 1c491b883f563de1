"""Toxic degeneration: how rude a model's own continuations get."""
