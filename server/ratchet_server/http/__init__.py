"""An OpenAI-compatible face of the service. Thin: it turns JSON into the contract's messages and back.

Must not know engine, rails or routing: an answer comes from `rpc.answers`, as it does for gRPC.
"""
