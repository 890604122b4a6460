"""Processes, sockets and their bounds, below HTTP."""
