"""The Ratchet server: gRPC in front of rails, a router and an inference engine with hot-swappable safety adapters."""
