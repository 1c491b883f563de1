"""The whole loop on real parts, as a user would drive it: over gRPC, against `ratchet up` in a process of its own.

It knows the wire and the evaluation library. It must not reach into the server's objects: what it shows, a user can do.
"""
