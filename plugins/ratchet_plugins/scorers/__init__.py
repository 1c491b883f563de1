"""Scorers: text in, named numbers in [0, 1] out. Toxicity, refusal and prompt harm are separate scorers.

They must not know what is done with a score: flagging, penalising and gating are decided elsewhere.
"""
