"""Everything about adapters between two servings: registry, artifacts, flags, datasets, training, evals.

It must not know gRPC servicers, rails or the engine. Importing it loads nothing; import the subpackage you need.
"""
