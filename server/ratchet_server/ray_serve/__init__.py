"""Ratchet servers as replicas on Ray Serve, behind its gRPC proxy. The one place that imports Ray Serve."""
