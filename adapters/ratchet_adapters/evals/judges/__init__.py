"""Judges: what one answer is worth on one axis."""
