"""Triage: does a prompt ask for something harmful? A cheap first look that decides what is examined more closely."""
