"""Observability of a running server: log lines, metrics, spans."""
