"""Evaluation: suites ask, judges judge, the gate decides whether a candidate may replace the champion.

It must not know how adapters are trained, stored or routed.
"""
