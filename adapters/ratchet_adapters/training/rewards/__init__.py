"""Rewards: how good an answer is to its prompt, by rules or by a trained reward model, and both multiplied.

They must not know how a reward is turned into a gradient.
"""
