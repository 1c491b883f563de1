"""Provenance: the lineage of an adapter from the ledger, evidence for auditors, signatures of adapters and receipts.

It must not know gRPC or the engine. No torch, and no network.
"""
