"""Tuning: a search over recipes for the best trade between safety, helpfulness and language.

It must not know how a run is served or judged by the gate. Importing it loads nothing heavy.
"""
