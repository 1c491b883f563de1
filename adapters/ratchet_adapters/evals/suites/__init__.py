"""Suites: sets of evaluation items with a name, a version, a licence and an axis."""
