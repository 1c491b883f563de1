"""Bulk scoring: a file of logged prompts and completions to one score per row and scorer, by many processes.

It must not know what follows from a score. Importing it loads nothing heavy.
"""
