"""What operators see of a running server: log lines, metrics, spans."""
