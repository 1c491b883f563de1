"""The gate: two evaluation results in, one PASS, FAIL or INCONCLUSIVE out, with its reasons and its figures."""
