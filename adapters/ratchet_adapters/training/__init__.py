"""Training: from a dataset folder to an adapter folder, in a process of its own.

It must not know flags, the registry or the serving engine. Importing it loads nothing heavy.
"""
