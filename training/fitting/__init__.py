"""Fitting a model: one run from configuration and images to weights, with all callbacks of its steps."""
