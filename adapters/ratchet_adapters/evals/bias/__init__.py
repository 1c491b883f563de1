"""Bias: stereotype preference, counterfactual gaps, answers under bias, associations of embeddings."""
