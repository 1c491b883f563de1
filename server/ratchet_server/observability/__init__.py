"""What an operator sees of Ratchet: metrics, their HTTP exporter, the Grafana dashboard and the logs.

It must not know how requests are served or adapters trained: callers report what happened, in plain values.
"""
