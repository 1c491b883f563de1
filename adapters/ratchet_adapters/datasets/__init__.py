"""From reviewed flags to a training dataset: selected, scrubbed, deduplicated, bounded, mixed and split.

It must not know how models are trained or served; answers and embeddings come in through callables.
"""
