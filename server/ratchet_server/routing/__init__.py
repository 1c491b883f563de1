"""Which adapter answers a request."""
