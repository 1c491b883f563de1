"""Whether a candidate in live traffic goes on, goes back, or has shown nothing."""
