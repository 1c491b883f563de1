"""Rails: NeMo Guardrails configurations compiled to profiles, three-valued verdicts, and the gate streams pass through.

It must not know gRPC, the router or vLLM. Importing this package imports nothing heavy; loading profiles does.
"""
