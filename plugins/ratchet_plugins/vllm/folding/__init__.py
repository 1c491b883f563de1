"""Folding: one adapter merged into a second set of the base model's linear weights, so that it costs nothing to serve.

Rows of the folded adapter go through the merged weights, all other rows through the untouched originals. What runs in
the worker: `weights.py` (the arithmetic), `checkpoint.py` (where the original weights come from), `layer.py` (which
rows take which weights) and `worker.py` (the calls). `protocol.py` is the caller's side, for Ratchet's engine and for a
stock `AsyncLLM` alike.
"""
