"""What becomes of a served exchange: it is scored, kept and, where it shows a problem, flagged."""
