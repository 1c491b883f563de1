"""A Ray cluster for work that is too much for one process: one of our own on loopback, or the operator's.

It must not know what is computed there. Importing it loads nothing heavy.
"""
