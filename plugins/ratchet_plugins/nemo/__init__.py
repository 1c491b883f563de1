"""Rails for NeMo Guardrails: manifests and actions for its compiled-rail path, in Ratchet or beside a stock NeMo.

Beside a stock NeMo: `compile_rail(flow, direction, dependencies, catalog=merged_catalog())`, from `.catalog`.
They must not know the server, its profiles or how scorers are batched there.
"""
