"""The way of one request through router, rails, engine and capture."""
