"""Paths for the operator of the server: health, metrics, limits and administration."""
