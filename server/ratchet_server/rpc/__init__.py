"""gRPC: services, conversion and the error table. The only place where the wire meets the domain."""
